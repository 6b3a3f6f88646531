"""The import of users over REST: a CSV file as the command takes it."""

from chatgpt_agent.admin.user_import import ImportedUsers
from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.web.admin.routing import CSV_FILE, MAX_FILE, AdminRequest, Route
from chatgpt_agent.web.admin.schemas import Empty, Strict

MAX_ERRORS = 20  # in one error message


class UserImportQuery(Strict, frozen=True, kw_only=True):
    """`dry_run`: only report what would happen; `skip_existing`: skip users who exist already."""

    dry_run: bool = False
    skip_existing: bool = False


async def import_users(request: AdminRequest[Empty, UserImportQuery, bytes]) -> ImportedUsers:
    query = request.query
    imported = await request.administration.user_import.run(
        request.body, skip_existing=query.skip_existing, dry_run=query.dry_run
    )
    if imported.errors and not query.dry_run:
        raise InvalidValue(_error_text(imported))
    return imported


def _error_text(imported: ImportedUsers) -> str:
    errors = [f"line {line.line}: {line.error}" for line in imported.errors]
    more = f"; and {len(errors) - MAX_ERRORS} more, which dry_run=true lists" if len(errors) > MAX_ERRORS else ""
    return (
        f"{len(errors)} of {len(imported.lines)} lines have an error, so no user was added: "
        f"{'; '.join(errors[:MAX_ERRORS])}{more}"
    )


ROUTES = [
    Route(
        method="POST", path="/user-import", handler=import_users,
        summary="Add all users of a CSV file, or none if a line has an error",
        query=UserImportQuery, body=bytes, files=CSV_FILE, max_body=MAX_FILE, answer=ImportedUsers,
        tag="users",
    ),
]  # fmt: skip
