"""The YAML file of the configuration: one mapping of keys to values, read strictly."""

import re
from pathlib import Path
from typing import Any

import yaml

from chatgpt_agent.adapters.redaction import display, is_secret
from chatgpt_agent.core.errors import ConfigError

# PyYAML quotes the names of aliases, anchors and tags in these errors.
_QUOTING = re.compile(r"found (undefined|duplicate) (alias|anchor|tag)|could not determine a constructor")
_IPV6 = re.compile(r"expected the node content, but found ':'|mapping values are not allowed here")


def read_config_file(path: Path) -> dict[Any, Any]:
    """Returns the keys and values of a file. Raises ConfigError: unreadable, not UTF-8, not YAML, a duplicate key, or
    something other than a mapping."""
    try:
        content = yaml.load(path.read_text("utf-8"), _StrictLoader)  # noqa: S506 - _StrictLoader is a SafeLoader
    except OSError as error:
        raise ConfigError([f"{_name(path)}: cannot be read: {error.strerror}"]) from None
    except UnicodeDecodeError:
        raise ConfigError([f"{path}: is not UTF-8 text"]) from None
    except yaml.YAMLError as error:
        raise ConfigError([_yaml_error(path, error)]) from None
    except (ValueError, KeyError, RecursionError):  # raised by PyYAML for `!!int text` and the like
        raise ConfigError([f"{path}: is not valid YAML"]) from None
    if content is None:  # an empty file
        return {}
    if not isinstance(content, dict):
        raise ConfigError([f"{path}: found {type(content).__name__}; allowed: lines of `key: value`"])
    return content


def _name(path: Path) -> str:
    """Returns the path, unless it is a secret or a URL that was put there by mistake."""
    return "the configuration file" if ":/" in str(path) or is_secret(str(path)) else str(path)


def _yaml_error(path: Path, error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    line = f" line {mark.line + 1}:" if mark else ""
    problem = getattr(error, "problem", None) or "is not valid YAML"
    if _QUOTING.match(problem):  # the quoted name may be a password: `database_password: *secret`
        problem = "a value that begins with & * or ! needs quotes"
    elif _IPV6.match(problem):
        problem += '; a value with [ or : needs quotes, such as "[::]"'
    return f"{path}:{line} {problem}"


class _StrictLoader(yaml.SafeLoader):
    """YAML that refuses duplicate keys, and reads a date as text: no key takes a date, and a password may look like
    one."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - the base class declares it
        first: [resolver for resolver in resolvers if resolver[0] != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        for index, key in enumerate(keys):
            if key in keys[:index]:
                position = node.value[index][0].start_mark
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {display(key)}", position)
        return super().construct_mapping(node, deep)
