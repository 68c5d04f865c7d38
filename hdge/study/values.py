"""Plain values from files, read strictly: YAML as people write it, and JSON as the study writes it."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

from hdge.study.errors import HdgeError


class _Strict(yaml.SafeLoader):
    """YAML of texts, numbers, truth values, lists and groups, without a name twice in a group.

    YAML 1.1 reads 1e-4 as text, 010 as 8 and 1:00 as 60, and makes objects of dates and of some tags. Here 1e-4 is a
    number, the others are text, and such tags are refused.
    """

    def compose_mapping_node(self, anchor: Any) -> Any:
        """Check names as they are written, before "<<" adds those of another group."""
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for name, _ in node.value:
            if not isinstance(name, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a name must be one word", name.start_mark)
            if name.value in seen:
                problem = f"{name.value!r} is given twice; keep one of them"
                raise yaml.constructor.ConstructorError(None, None, problem, name.start_mark)
            seen.add(name.value)
        return node


_TAG = "tag:yaml.org,2002:"
_Strict.yaml_constructors = {
    tag: construct
    for tag, construct in yaml.SafeLoader.yaml_constructors.items()
    if tag is None or tag.removeprefix(_TAG) in ("null", "bool", "int", "float", "str", "seq", "map")
}
_Strict.yaml_implicit_resolvers = {
    first: [pair for pair in resolvers if pair[0].removeprefix(_TAG) in ("null", "bool", "merge")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Strict.add_implicit_resolver(_TAG + "int", re.compile(r"^[-+]?(0|[1-9][0-9]*)$"), list("-+0123456789"))
_Strict.add_implicit_resolver(
    _TAG + "float",
    re.compile(
        r"^([-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$"
    ),
    list("-+.0123456789"),
)


def read_whole(path: Path, remedy: str) -> bytes:
    """Read a file, or say how to go on without it."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise HdgeError(f"{path} cannot be read ({error.strerror}); {remedy}.") from None


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a file of settings or a profile, a group of names and plain values, with or without a byte order mark."""
    content = read_whole(path, "name another file, or mend this one")
    try:
        values = yaml.load(content.decode("utf-8-sig"), _Strict)
        json.dumps(values)  # refuses a group that contains itself
    except UnicodeDecodeError:
        raise HdgeError(f"{path} is no text in UTF-8; save it as such, or name another file.") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None) or str(error)
        line = f", line {mark.line + 1}" if mark else ""
        raise HdgeError(f"{path}{line}: {' '.join(problem.split())}; correct the YAML.") from None
    if not isinstance(values, dict):
        held = "is empty" if values is None else f"holds {str(values)[:40]!r}"
        raise HdgeError(f"{path} {held}; it must hold lines of `name: value`.")
    return values


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """Read an object that the study wrote; if it is damaged, say so and how to go on."""
    content = read_whole(path, remedy)
    try:
        values = json.loads(content)
    except (ValueError, RecursionError):
        raise HdgeError(f"{path} is damaged, for it is no JSON; {remedy}.") from None
    if not isinstance(values, dict):
        raise HdgeError(f"{path} is damaged, for it holds no JSON object; {remedy}.")
    return values
