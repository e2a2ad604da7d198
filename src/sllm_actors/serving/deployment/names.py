"""The names that the keys of a deployment document go by: today's, and those of ServerlessLLM's files.

An unknown key is a mistake that names it. A key that ServerlessLLM knew and that has no meaning here is
accepted with a warning that says why: so an old file can be deployed, and nothing is ignored in silence.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import attrs
from attrs import define, field

from .json_text import plain_key, shown
from .problem import MAX_MISTAKES, Mistake
from .spec import DeploymentSpec, Scaling

Path = tuple[str, ...]
"""Where a value is in a document, by today's names."""

_TOP = {name: name for name in attrs.fields_dict(DeploymentSpec)} | {
    "auto_scaling_config": "scaling",
    "backend_config": "settings",
    "endpoint": "endpoints",
}
_SCALING = {name: name for name in attrs.fields_dict(Scaling)} | {
    "target_ongoing_requests": "target",
    "keep_alive_seconds": "keep_alive",
}
_CURRENT = {"scaling": "auto_scaling_config", "settings": "backend_config"}
OLDER_SETTINGS = {"torch_dtype": "dtype", "lora_adapters": "lora_modules"}
"""Today's names of settings, by their older ones."""

_SOURCE = "pretrained_model_name_or_path"  # an older file has it among the settings
_WITHOUT_MEANING = {
    "router_config": "live migration is not done",
    "scheduler_config": "live migration is not done",
    "placement_config": "placement follows the files that workers report",
}
_SETTINGS_WITHOUT_MEANING = {
    "device_map": "the engine places the model itself",
    "hf_model_class": "the engine reads the class from the model's own configuration",
    "trace_debug": "the engine's log is always kept",
}


@define
class Renaming:
    """Brings a document to today's names, and keeps what its author has to hear.

    Attributes:
        mistakes: What is wrong so far.
        warnings: Sentences for the author.
        typed: The name that each value was given under, with dots from the top, by its path.
        keeps_null: Whether a null is kept, as a patch means it; in a document it is as if not there.
    """

    mistakes: list[Mistake] = field(factory=list)
    warnings: list[str] = field(factory=list)
    typed: dict[Path, str] = field(factory=dict)
    keeps_null: bool = False

    def document(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values of a document under today's names.

        A value that is no table where one must be, or has a mistake already, is left out.
        """
        document = self._renamed(given, _TOP, _WITHOUT_MEANING, ())
        self._list("endpoints", "addresses", document)
        self._list("aliases", "names", document)
        for name in ("scaling", "settings", "env", "secret_env", "node_selector"):
            if name in document and not self._is_table(document[name], self.typed[name,]):
                del document[name]
        if document.get("scaling") is not None:
            document["scaling"] = self._renamed(document["scaling"], _SCALING, {}, ("scaling",))
            self._list("schedules", "objects", document["scaling"], ("scaling",))
        if document.get("settings") is not None:
            document["settings"] = self._settings(document)
        return document

    def know(self, document: Mapping[str, Any]) -> None:
        """Take the values of another document, under today's names, as those that nobody typed here."""
        for name, value in document.items():
            self.typed.setdefault((name,), _CURRENT.get(name, name))
            if name == "scaling":
                for key in value:
                    self.typed.setdefault((name, key), f"{self.typed[name,]}.{key}")

    @property
    def mistaken(self) -> set[str | None]:
        """The keys, as they were typed, at which a mistake is known."""
        return {each.param for each in self.mistakes}

    def _renamed(
        self, given: Mapping[str, Any], names: Mapping[str, str], idle: Mapping[str, str], path: Path
    ) -> dict[str, Any]:
        renamed: dict[str, Any] = {}
        prefix = f"{self.typed[path]}." if path else ""
        for key, value in given.items():
            here = prefix + plain_key(key)
            if key in idle:
                self.warnings.append(f"{here} has no effect: {idle[key]}")
            elif key not in names:
                self._unknown(shown(prefix + key), here, key, names)
            elif names[key] in renamed:
                self._twice(self.typed[*path, names[key]], here)
            elif value is not None or self.keeps_null:
                renamed[names[key]] = value
                self.typed[*path, names[key]] = here
        return renamed

    def _unknown(self, typed: str, here: str, key: str, names: Mapping[str, str]) -> None:
        if len(self.mistakes) < MAX_MISTAKES:  # what is not told needs no hint, which takes time to find
            close = difflib.get_close_matches(key[:100], names, n=1)
            if names is _TOP and key in _SCALING:
                close = [f"{_CURRENT['scaling']}.{key}"]
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(sorted(names))}"
            self.mistakes.append(Mistake(f"unknown key {typed}: {hint}", here))
        else:
            self.mistakes.append(Mistake(f"unknown key {typed}", here))

    def _settings(self, document: dict[str, Any]) -> dict[str, Any]:
        """Return the settings of a document; the path of the model among them becomes its source."""
        here = self.typed["settings",]
        given: dict[str, Any] = dict(document["settings"])
        if _SOURCE in given:
            self._take_source(given.pop(_SOURCE), document, f"{here}.{_SOURCE}")
        settings: dict[str, Any] = {}
        for key, value in given.items():
            name = OLDER_SETTINGS.get(key, key)
            if key in _SETTINGS_WITHOUT_MEANING:
                self.warnings.append(f"{here}.{key} has no effect: {_SETTINGS_WITHOUT_MEANING[key]}")
            elif name in settings:
                also = next(old for old, new in OLDER_SETTINGS.items() if new == name)
                self._twice(f"{here}.{name}", f"{here}.{also}")
            elif value is not None or self.keeps_null:
                settings[name] = value
        return settings

    def _take_source(self, place: Any, document: dict[str, Any], key: str) -> None:
        if not isinstance(place, str | None):
            self.mistakes.append(Mistake(f"{key}: {shown(place)} is not a text", key))
        elif document.get("source"):
            if place:
                self.warnings.append(f"{key} has no effect: source goes before it")
        elif place or self.keeps_null:
            document["source"] = f"hf:{place}" if place and not place.startswith("/") else place
            self.typed["source",] = key

    def _list(self, name: str, what: str, document: dict[str, Any], path: Path = ()) -> None:
        """Make a list of one text; take note if something else is no list."""
        given = document.get(name)
        if isinstance(given, str) and not path:
            document[name] = [given]
        elif given is not None and not isinstance(given, list):
            key = self.typed[*path, name]
            self.mistakes.append(Mistake(f"{key} must be a list of {what}, not {shown(given)}", key))
            del document[name]

    def _is_table(self, value: Any, key: str) -> bool:
        if isinstance(value, dict) or value is None:
            return True
        if key not in self.mistaken:
            self.mistakes.append(Mistake(f"{key} must be an object of keys and values", key))
        return False

    def _twice(self, one: str, other: str) -> None:
        self.mistakes.append(Mistake(f"{one} is given twice: it means the same as {other}", one))
