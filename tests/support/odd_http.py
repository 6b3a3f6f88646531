"""Parts of requests that programs read differently, or do not read at all (BAD_…), and odd ones with one meaning
(GOOD_…).

`{L}` is the length of the body, `{X}` the same in hexadecimal, `{}` the name of a field."""

BAD_LENGTHS = (
    "+{L}", "-{L}", "-1", "0x{X}", "{L}.0", "{L},", ",{L}", "", " ", "{L} {L}", "1_0", "\xb2", "\xd9\xa3", "{L};",
    '"{L}"', "{L}e0", "{L}\x0b", "\x0b{L}", "{L}\xa0", "{L}\0", "\0{L}", "{L}\r", "{L}\x1f", "{L}, 1", "1, {L}",
    "{L}, 0{L}", "NaN", "chunked", "{L}\tx", "{L}/1", "(c){L}",
)  # fmt: skip
GOOD_LENGTHS = ("{L}", " {L}", "{L} ", "\t{L}\t", "0{L}", "000000000000000000000000{L}", "{L}, {L}", "{L},{L}\t,{L}")
BAD_CODINGS = (
    "xchunked", "chunkedx", "chunked, identity", "identity, chunked", "identity", "gzip", "gzip, chunked",
    "chunked, gzip", "chunked, chunked", "chunked;q=1", "chunked ; x", '"chunked"', "'chunked'", "chunked\x0b",
    "\x0bchunked", "\x0cchunked", "chunk", "", ",chunked", "chunked,", ", chunked ,", "chunked\0", "\0chunked",
    "cow", "chun\tked", "chunked\xa0", "\xa0chunked", "\xc3\xa7hunked", "chu\xadnked", "chunked\x7f", "CHUN\u212aED",
    "chunked x", "x chunked", "trailers, chunked", "chunked\r", "\rchunked", "(c)chunked", "chunked(c)",
)  # fmt: skip
GOOD_CODINGS = ("chunked", "Chunked", "CHUNKED", " chunked", "\tchunked", "chunked ", " \t chunked\t ")
BAD_NAMES = (
    "{} ", "{}\t", " {}", "\t{}", "{}\0", "\0{}", "{}\x0b", "\x0b{}", "{}\xa0", "\xa0{}", "{}\x7f", "{}\r", "\r{}",
    "({})", '"{}"', "{}\x85", "{}@", "{}/", "{}[]", "{}=", "{};", "{}\xad", "{},", "{} x", "x {}",
)  # fmt: skip
OTHER_NAMES = ("X-{}", "{}-X", "{}_", "_{}", "{}.", "{}'", "!{}", "{}$")  # tokens, and so other fields
BAD_SIZES = (
    "+{X}", "-{X}", "0x{X}", "0X{X}", " {X}", "{X} ", "{X}\t", "\t{X}", "{X}\x0b", "{X}\0", "\0{X}", "{X}\r", "\r{X}",
    "\n{X}", "{X}\n", "{X};", "{X};a", "{X};a=b", '{X};a="b"', '{X};a="\r\n"', "{X};a=\nb", "{X};" + "x" * 40,
    "{X};" + "x" * 20_000, "{X} ;a", "{X},", "{X}h", "{X}_", "{X}.0", '"{X}"', "g", "", "x{X}", "\xd9\xa3", "{X} {X}",
    "1_0", "{X}\xa0", "0" * 70 + "{X}",
)  # fmt: skip
BAD_ENDS = (
    b"", b"\n", b"\r", b"XX", b"\n\n", b"\r\r", b"\r\nX", b"  ", b"\0\0", b"\r\n\r\n", b"X\r\n", b"\n\r",
)  # fmt: skip
BAD_LAST_CHUNKS = (
    b"0\r\n", b"0\r\nX", b"0\r\n\n", b"0\n\n", b"0\n\r\n", b"0\r\r\n", b"0\r\n\r", b"0;a\r\n\r\n", b"0 \r\n\r\n",
    b"-0\r\n\r\n", b"0x0\r\n\r\n", b"\r\n", b"0\r\nX: y\r\n\r\n", b"0\r\nContent-Length: 5\r\n\r\n",
    b"0\r\nTransfer-Encoding: chunked\r\n\r\n", b"0\r\nHost: b\r\n\r\n", b"0\r\nAuthorization: Bearer x\r\n\r\n",
    b"0\r\nX\r\n\r\n", b"0\r\n: y\r\n\r\n", b"0\r\n X: y\r\n\r\n", b"0\r\nX: y\n\n",
)  # fmt: skip
GOOD_LAST_CHUNKS = (b"0\r\n\r\n", b"00\r\n\r\n", b"0000000000000000\r\n\r\n")
BAD_LINES = (
    "X-Odd: a\0b", "X-Odd: a\rb", "X-Odd: a\nb", "X-Odd: \x7f", "X-Odd: a\x1bb", "X\0Odd: a", "X Odd: a", ": a", "odd",
    "X-Odd: a\r\n b", "X-Odd: a\r\n\tb", "X-Odd:\r\n a", "X-Odd: a\r\n :b", "X\xd6dd: a", "X-Odd\x0b: a", "(X): a",
    "X-Odd: a\n b", "X-Odd: a\rTransfer-Encoding: chunked", "X-Odd: a\nTransfer-Encoding: chunked", "\n", "\r", " ",
    "X-Odd: a\r\r", "X-Odd: a\nContent-Length: {L}", "X-Odd: a\n\nGET /healthz HTTP/1.1\r\nHost: a",
)  # fmt: skip
GOOD_LINES = ("X-Odd:", "X-Odd: \xe9\xff", "X-Odd: a\tb", "X-Odd:a:b", "!#$%&'*+-.^_`|~09Az: a", "X-Odd: \t a \t ")
BAD_VERSIONS = {
    "": 400, " ": 400, " HTTP/1.1 ": 400, "  HTTP/1.1": 400, "\tHTTP/1.1": 400, " http/1.1": 400, " HTTP/1": 505,
    " HTTP/1.10": 505, " HTTP/01.1": 505, " HTTP/2.0": 505, " HTTP/0.9": 505, " HTTP/3": 505, " HTTP/ 1.1": 400,
    " HTTP/1.1x": 400, " HTTP/1,1": 400, " HTTP/+1.1": 400, " HTTP/1.1\0": 400, " HTTP/1.1 HTTP/1.1": 400,
    " HTTP\\1.1": 400, " XHTTP/1.1": 400, " HTTPS/1.1": 400, " HTTP/\xb9.1": 400, "\r HTTP/1.1": 400,
    "\n HTTP/1.1": 400, " HTTP/1.1\r": 400,
}  # fmt: skip
BAD_HOSTS = (
    "a\r\nHost: b", "a\r\nHost: a", "a, b", "a b", "a\tb", "a@b", "user:secret@a", "a/b", "a\\b", "a?b", "a#b", "a\0",
    "<a>", '"a"', "a|b", "\xe4", "a\r\n b", "a^b",
)  # fmt: skip
