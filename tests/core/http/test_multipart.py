"""Forms: only what all parsers read alike is accepted."""

import contextlib
import email
import email.policy
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tornado.httputil import HTTPFile, parse_multipart_form_data

from chatgpt_agent.core.cooperative import run_to_end
from chatgpt_agent.core.errors import ClientError, InvalidRequest, UnsupportedMediaType
from chatgpt_agent.core.http.multipart import MAX_HEAD, MAX_PARTS, Form, parse_boundary, read_form

BOUNDARY = "a-boundary"
TYPE = f"multipart/form-data; boundary={BOUNDARY}"
NAMES = ("model", "stream", "response_format")
FIELD = b'Content-Disposition: form-data; name="%s"'
MODEL = (FIELD % b"model", b"gpt-transcribe")
FILE = (FIELD % b"file" + b'; filename="a.mp3"\r\nContent-Type: audio/mpeg', b"\x00\xff\r\n\r\n--a")


def form(*parts: tuple[bytes, bytes], end: bytes = b"--\r\n") -> bytes:
    delimiter = b"--" + BOUNDARY.encode()
    return (
        b"".join(delimiter + b"\r\n" + head + b"\r\n\r\n" + value + b"\r\n" for head, value in parts) + delimiter + end
    )


def read(body: bytes, content_type: str = TYPE) -> Form:
    return run_to_end(read_form(body, content_type, NAMES))


# Accepted forms.


def test_form_is_read() -> None:
    """Reading a form gives the requested fields, the number of files, and the length of the other fields."""
    result = read(form(MODEL, FILE, (FIELD % b"prompt", "é 模".encode()), (FIELD % b"stream", b"true")))
    assert result == Form(
        values={"model": "gpt-transcribe", "stream": "true"},
        names=frozenset({"model", "file", "prompt", "stream"}),
        files=1,
        text_bytes=14 + 6 + 4,
    )


@pytest.mark.parametrize(
    "head",
    [
        b'content-disposition: form-data; name="model"',
        b'Content-Disposition:form-data;name="model"',
        b'Content-Disposition: form-data; name="model"\r\nContent-Type: text/plain; charset=UTF-8',
        b'Content-Type: text/plain\r\nContent-Disposition: form-data; name="model"\r\nContent-Length: 14',
        b'Content-Disposition: form-data; name="model"\r\nContent-Transfer-Encoding: 8bit',
        b'Content-Type: text/plain; charset=ISO-8859-1\r\nContent-Disposition: form-data; name="model"',
        b"Content-Type: text/plain; charset=utf-8\r\nContent-Disposition: form-data; name=model",
        b'Content-Type:application/x-www-form-urlencoded;charset=UTF-8\r\nContent-Disposition:form-data;name="model"',
    ],
)
def test_heads_of_common_clients_are_accepted(head: bytes) -> None:
    """The heads that curl, Node, Java, .NET and Go write are accepted."""
    assert read(form((head, MODEL[1]), FILE)).values == {"model": MODEL[1].decode()}


@pytest.mark.parametrize(
    "filename",
    [
        b'filename=""',
        b"filename=a.mp3; filename*=utf-8''a.mp3",
        b'filename="a b (1).mp3"',
        'filename="é.mp3"'.encode(),
        b"filename=\"a\"; filename*=UTF-8''%C3%A9.mp3",
        b'filename="a\\"b\\".mp3"',
        b'filename="C:\\\\a\\\\b.mp3"',
        b'filename="C:\\a.mp3"',
        b'filename="a "b".mp3"',
        b'filename="a%22b%22.mp3"',
        b'filename="a;b=c.mp3"',
        b'filename="\xe9.mp3"',
    ],
)
def test_file_names_are_accepted(filename: bytes) -> None:
    """A file may have any name that cannot end its own quotes."""
    assert read(form(MODEL, (FIELD % b"file" + b"; " + filename, b"x"))).files == 1


@pytest.mark.parametrize("end", [b"--\r\n", b"--", b"--\r\n\r\n"])
def test_line_ends_after_the_form_may_vary(end: bytes) -> None:
    """The line end after the last delimiter may be missing, and an empty epilogue may follow it."""
    assert read(form(MODEL, end=end)).values == {"model": MODEL[1].decode()}


def test_other_fields_may_be_repeated() -> None:
    """A field that we do not read may be repeated."""
    assert read(form(MODEL, *[(FIELD % b"include[]", b"logprobs")] * 2)).values == {"model": MODEL[1].decode()}


@pytest.mark.parametrize(
    "content_type",
    [
        'multipart/form-data; boundary="a-boundary"',
        "Multipart/Form-Data;boundary=a-boundary",
        "multipart/form-data; charset=ISO-8859-1; boundary=a-boundary",
        "multipart/form-data;charset=us-ascii ; boundary=a-boundary",
        "multipart/form-data; boundary=a-boundary;charset=UTF-8",
        'multipart/form-data; boundary="a-boundary"; charset="utf-8"',
    ],
)
def test_boundary_may_be_quoted_and_have_a_charset(content_type: str) -> None:
    """The boundary may be quoted, and a charset that agrees with ASCII may stand before or after it."""
    assert read(form(MODEL), content_type).values == {"model": MODEL[1].decode()}


FORMS = sorted((Path(__file__).parent / "forms").glob("*.form"))


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_forms_of_http_libraries_are_accepted(path: Path) -> None:
    """The forms that HTTP libraries send are accepted, and their fields read.

    A file has a Content-Type, an empty line, and a body, as they were received over a socket from openai-node 4.104,
    got 11.8 (form-data 4.0) and 14.6 (form-data-encoder 4.1), axios 1.21, superagent 10.4, fetch of Node 20, Apache
    HttpClient 5.2, multipart-post 2.0 and net/http of Ruby 3.1, mime/multipart of Go 1.19, Guzzle 7.4 and curl 7.88.
    Those of Unirest 4 and openai-java 4 are written as their sources do it. `quotes`: the name of the file is
    `a "b" \\ é.mp3`, or as much of it as the library takes.
    """
    content_type, body = path.read_bytes().split(b"\r\n\r\n", 1)
    result = read(body, content_type.decode())
    assert (result.values["model"], result.files) == ("gpt-4o-transcribe", 1)
    assert result.values.get("response_format") in (None, "json")


# Refused forms.


@pytest.mark.parametrize(
    "content_type",
    [
        "", "application/json", "multipart/form-data", "multipart/form-data; boundary=", "multipart/mixed; boundary=a",
        "multipart/form-data; boundary=a; boundary=b", "multipart/form-data; boundary=a,multipart/form-data",
        "multipart/form-data; boundary=a b", 'multipart/form-data; boundary="a', "multipart/form-data; boundary=é",
        "multipart/form-data; boundary=" + "a" * 71, "multipart/form-data; boundary=a; charset=utf-7",
        "multipart/form-data; charset=utf-16; boundary=a", "multipart/form-data; charset=utf-8",
        "multipart/form-data; charset=utf-8; boundary=a; charset=utf-8",
        'multipart/form-data; boundary=a; charset="utf-8', "multipart/form-data; bo\u212aundary=a",
        "multipart/form-data; x=y; boundary=a", "multipart/form-data; boundary=a\t", "multipart/form-data boundary=a",
    ],
)  # fmt: skip
def test_ambiguous_boundary_is_refused(content_type: str) -> None:
    """A Content-Type without an unambiguous boundary is a 415."""
    with pytest.raises(UnsupportedMediaType):
        parse_boundary(content_type)


def test_repeated_field_is_refused() -> None:
    """A repeated field is refused, because some parsers take the first and others the last."""
    with pytest.raises(InvalidRequest) as caught:
        read(form(MODEL, FILE, (FIELD % b"model", b"gpt-live-transcribe")))
    assert caught.value.param == "model"


@pytest.mark.parametrize("name", [b"Model", b"model[]", b"model[0]", b"MODEL", b"model.x", b"stream[]"])
def test_similar_field_name_is_refused(name: bytes) -> None:
    """A name that some servers take for that of a field is refused."""
    with pytest.raises(InvalidRequest):
        read(form(MODEL, (FIELD % name, b"x")))


@pytest.mark.parametrize(
    "head",
    [
        FIELD % b"model" + b'; filename="x"',
        FIELD % b"model" + b"\r\nContent-Type: text/plain; charset=utf-16",
        FIELD % b"model" + b"\r\nContent-Type: application/json",
        FIELD % b"model" + b"\r\nContent-Transfer-Encoding: base64",
        FIELD % b"model" + b"\r\nContent-Transfer-Encoding: quoted-printable",
        FIELD % b"model" + b"\r\nContent-Length: 3",
        FIELD % b"model" + b"\r\nX-Other: 1",
        FIELD % b"model" + b"\r\n" + FIELD % b"other",
        FIELD % b"model" + b"\r\n folded: 1",
        FIELD % b"model" + b'\r\n ; name="other"',
        FIELD % b"model" + b'; name="other"',
        FIELD % b"model" + b'; filename="a\\"; name="other"',
        FIELD % b"other" + b'; filename="a\\"; name="model"; x="b"',
        FIELD % b"other" + b'; filename="a"; name="model',
        FIELD % b"other" + b'; filename="a\\" name="model"',
        FIELD % b"other" + b'; filename="a" name=model',
        FIELD % b"other" + b"; filename=\"a\\\"; filename*=utf-8''b",
        FIELD % b"model" + b"; filename=x",
        FIELD % b"other" + b"; filename=x y",
        b"Content-Disposition: form-data; name=model[]",
        b'Content-Disposition: form-data; name="mod%65l"',
        b'Content-Disposition: form-data; name="\xc5\xbftream"',
        b"Content-Disposition: form-data; name=model; name=other",
        b"Content-Disposition: form-data; name='model'",
        b"Content-Disposition: form-data; name*=utf-8''model",
        b'Content-Disposition: attachment; name="model"',
        b'Content-Disposition : form-data; name="model"',
        b'Content-Disposition: form-data; name="mod\xc3\xa9l"',
        b'Content-Disposition: form-data; name="mo\\del"',
        b'Content-Disposition: form-data; name="model\x00"',
        b'Content-Disposition: form-data;\n name="model"',
        b'X: 1\nContent-Disposition: form-data; name="model"',
        b'Content-Disposition: form-data; name="\xff"',
        b"Content-Type: text/plain",
        b"",
        FIELD % b"model" + b"\r\nContent-Type: " + b"x" * MAX_HEAD,
    ],
)
def test_ambiguous_head_is_refused(head: bytes) -> None:
    """A head that parsers may read differently is refused."""
    with pytest.raises(InvalidRequest):
        read(form((head, MODEL[1]), FILE))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--a-boundary--\r\n",
        b"\r\n" + form(MODEL),
        b"preamble\r\n" + form(MODEL),
        form(MODEL) + b"epilogue",
        form(MODEL) + b"\r\n\r\n",
        form(MODEL) + b"\n",
        form(MODEL, end=b""),
        form(MODEL, end=b"-"),
        form(MODEL, end=b"\r\n"),
        form(MODEL, end=b" --\r\n"),
        form(MODEL)[:-20],
        form(MODEL).replace(b"\r\n", b"\n"),
        form(MODEL).replace(b"--a-boundary\r\n", b"--a-boundary \r\n"),
        form(MODEL).replace(b"\r\n\r\n", b"\r\n"),
        form(MODEL, (FIELD % b"file", b"x\n--a-boundary\nContent")),
        form(MODEL, (FIELD % b"file", b"x--a-boundary")),
        form(MODEL, (FIELD % b"file", b"\r\n--a-boundary-and-more\r\n")),
        form(MODEL, (FIELD % b"_charset_", b"utf-16")),
        form(MODEL, *[FILE] * MAX_PARTS),
        b'--a-boundary\r\nContent-Disposition: form-data; name="model"\r\n\r\n--a-boundary--\r\n',
    ],
)
def test_malformed_form_is_refused(body: bytes) -> None:
    """A form that is cut off, has text around it or a boundary inside of a part is refused."""
    with pytest.raises(InvalidRequest):
        read(body)


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        (b"x" + form(MODEL), "must begin with the boundary"),
        (form(MODEL) + b"x", "nothing but line ends may follow"),
        (form((FIELD % b"model" + b"\r\nX-Other: 1", b"x")), "must not have the header field 'x-other'"),
        (form((FIELD % b"a b", b"x")), "the Content-Disposition of a part"),
        (form((FIELD % b"model" + b"\r\nContent-Transfer-Encoding: base64", b"x")), "Content-Transfer-Encoding"),
        (form((FIELD % b"model" + b"\r\nContent-Length: 3", b"x")), "Content-Length"),
        (form((FIELD % b"model" + b"\r\n" + FIELD % b"model", b"x")), "one header field 'Content-Disposition'"),
        (form(MODEL, (FIELD % b"file", b"x--a-boundary")), "must not occur within a part"),
        (form(MODEL, MODEL), "more than one field 'model'"),
        (form((FIELD % b"Model", b"x")), "'Model' must be named 'model'"),
        (form((FIELD % b"model" + b'; filename="x"', b"x")), "without a file name"),
        (form((FIELD % b"model" + b"\r\nContent-Type: application/json", b"x")), "of the type text/plain"),
        (form((FIELD % b"model" + b"\r\nContent-Type: application/x-www-form-urlencoded", b"a+b")), "no % or +"),
        (form((FIELD % b"model", b"x" * 513)), "at most 512 bytes"),
        (form((FIELD % b"model", b"\xc3\xa9")), "must be ASCII text"),
    ],
)
def test_refusal_says_which_rule_was_broken(body: bytes, rule: str) -> None:
    """A refused form is answered with the rule that it breaks."""
    with pytest.raises(InvalidRequest) as caught:
        read(body)
    assert rule in caught.value.message


# Any bytes.

FRAGMENTS = [
    b"--a-boundary", b"\r\n", b"\n", b"\r\n\r\n", b"--", b'Content-Disposition: form-data; name="model"',
    b'Content-Disposition: form-data; name="file"; filename="x"', b"; name=stream", b'"', b"x", b"a", b" ", b"\r",
    b"Content-Type: text/plain", b"Content-Disposition", b": ",
]  # fmt: skip


def as_tornado(body: bytes) -> dict[str, list[bytes]]:
    """Returns the fields that Tornado reads."""
    fields: dict[str, list[bytes]] = {}
    files: dict[str, list[HTTPFile]] = {}
    parse_multipart_form_data(BOUNDARY.encode(), body, fields, files)
    return fields


def as_email(body: bytes) -> dict[str, list[Any]]:
    """Returns the fields that the standard library's email parser reads."""
    text = b"Content-Type: " + TYPE.encode() + b"\r\n\r\n" + body
    fields: dict[str, list[Any]] = {}
    for part in email.message_from_bytes(text, policy=email.policy.HTTP).iter_parts():
        name = part.get_param("name", header="content-disposition")
        if part.get_filename() is None:
            fields.setdefault(str(name), []).append(part.get_payload(decode=True))
    return fields


@settings(max_examples=300)
@given(st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=2), max_size=30))
def test_any_bytes_are_read_or_refused(parts: list[bytes]) -> None:
    """Any bytes are read as a form or refused."""
    with contextlib.suppress(InvalidRequest):
        read(b"".join(parts))


names = st.sampled_from([b"model", b"stream", b"prompt", b"include[]", b"language"])
contents = st.lists(st.sampled_from(FRAGMENTS[1:5]) | st.binary(max_size=4), max_size=4).map(b"".join)
heads = st.sampled_from([b"", b"\r\nContent-Type: text/plain", b"\r\nContent-Type: text/plain;charset=utf-8"])
spelled = st.sampled_from([FIELD, b"Content-Disposition: form-data; name=%s", b"Content-Disposition:form-data;name=%s"])
parts = st.tuples(st.tuples(spelled, names).map(lambda pair: pair[0] % pair[1]), heads, contents).map(
    lambda part: (part[0] + part[1], part[2])
)


@settings(max_examples=300)
@given(st.lists(parts, max_size=5), st.integers(0, 400), st.sampled_from([b"", b"\r", b"\n", b"--", b'"', b"x"]))
def test_accepted_form_is_read_alike_by_other_parsers(fields: list[tuple[bytes, bytes]], at: int, extra: bytes) -> None:
    """Tornado and the standard library's email parser find the same bytes in the fields that we read."""
    body = form(MODEL, *fields)
    body = body[:at] + extra + body[at:]
    try:
        accepted = read(body)
    except ClientError:
        assume(extra or any(b"model" in head or b"stream" in head for head, _ in fields))
        return
    ours = {name: value.encode() for name, value in accepted.values.items()}
    by_tornado, by_email = as_tornado(body), as_email(body)
    assert {name: [value] for name, value in ours.items()} == {
        name: values for name, values in by_tornado.items() if name in NAMES
    }
    assert {name: ours.get(name) for name in NAMES if name in by_email} == {
        name: values[0] for name, values in by_email.items() if name in NAMES
    }


@pytest.mark.parametrize(
    "filling",
    [b"\r\n--", b"-" * 4, b"\r\n--a-boundar", b"\x00" * 4, b"a-boundary"],
    ids=lambda one: one.decode("latin-1"),
)
def test_adversarial_form_is_read_quickly(filling: bytes) -> None:
    """A form of 10 MB that is made to be slow to search takes less than half a second."""
    body = form(MODEL, (FILE[0], filling * (10_000_000 // len(filling))))
    started = time.process_time()
    read(body)
    assert time.process_time() - started < 0.5
