"""Settings of external servers: what is refused, and that no refusal repeats what may be a secret."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from sllm_actors.engines.backends.external import External, read_external
from sllm_actors.engines.errors import SettingsProblem
from sllm_actors.engines.external import ServerAccess
from sllm_actors.models.errors import SourceProblem

KEY = "sk-hunter2"


def test_what_is_given_says_how_the_server_is_reached() -> None:
    assert read_external({}).access == ServerAccess()
    given = {
        "upstream_model": "gpt-4o",
        "api_key_env": "THEIR_KEY",
        "headers": {"X-Team": "blue"},
        "ca_file": "/etc/ca.pem",
        "connect_timeout": 3,
        "health_path": "/up",
    }
    access = read_external(given).access
    assert access == ServerAccess("gpt-4o", "THEIR_KEY", "", {"X-Team": "blue"}, "/etc/ca.pem", 3)
    assert read_external({"api_key_file": "/run/key"}).access == ServerAccess(key_file="/run/key")


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"api_key": KEY}, "no setting 'api_key'; did you mean api_key_"),
        ({"api_key_env": KEY}, "api_key_env must be the name of an environment variable"),
        ({"api_key_env": [KEY]}, "api_key_env must be a text"),
        ({"api_key_env": "SLLM_SECRET"}, "api_key_env cannot name a variable that begins with SLLM_"),
        ({"api_key_file": KEY}, "api_key_file must be the absolute path of a file"),
        ({"api_key_env": "A", "api_key_file": "/a"}, "api_key_env and api_key_file both name a key"),
        ({"ca_file": "ca.pem"}, "ca_file must be the absolute path of a file"),
        ({"headers": f"Authorization: {KEY}"}, "headers must be a table of names and texts"),
        ({"headers": {"X": [KEY]}}, "headers must be a table of names and texts"),
        ({"headers": {"a b": KEY}}, "headers: 'a b' cannot be the name of a header"),
        ({"headers": {"X": f"{KEY}\r\nY: 1"}}, "headers: the value of X must be visible ASCII characters"),
        ({"headers": {"X": f"{KEY}ä"}}, "headers: the value of X must be visible ASCII characters"),
        ({"headers": {"X": ""}}, "headers: the value of X must be visible ASCII characters"),
        ({"headers": {"Host": "a"}}, "headers: Host cannot be set, the gateway does that itself"),
        ({"headers": {"X-A": "1", "x-a": "2"}}, "headers: x-a is given twice"),
        ({"headers": {f"x-{n}": "1" for n in range(33)}}, "headers must be at most 32, not 33"),
        (
            {"headers": {"authorization": KEY}, "api_key_env": "A"},
            "headers has an Authorization beside api_key_",
        ),
        ({"upstream_model": "a\nb"}, "upstream_model must have at most 256 characters, all of them visible"),
        ({"health_path": "up"}, "health_path must be a path, as /health, not 'up'"),
        ({"connect_timeout": 0}, "connect_timeout must be a number above 0, up to 600, not 0"),
    ],
)
def test_settings_that_are_no_good_are_refused_by_name(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(SettingsProblem) as found:
        read_external(settings)
    assert why in str(found.value)
    assert KEY not in str(found.value)


def test_secrets_and_authorities_are_looked_for_before_a_deployment_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def inspect(source: str = "http://a", **settings: Any) -> None:
        External().inspect(source, settings, "", 0)

    monkeypatch.setenv("THEIR_KEY", KEY)
    inspect(api_key_env="THEIR_KEY")
    with pytest.raises(SettingsProblem, match="variable NOT_THERE, which api_key_env names, is not set"):
        inspect(api_key_env="NOT_THERE")
    with pytest.raises(SettingsProblem, match=r"ca_file .* cannot be read"):
        inspect(ca_file=str(tmp_path / "none"))
    with pytest.raises(SourceProblem, match="has no http:// or https:// before it"):
        inspect("a:8000")


def test_what_may_be_secret_is_in_no_text_of_a_value() -> None:
    settings = read_external({"headers": {"Authorization": KEY}})
    assert KEY not in repr(settings)
    assert KEY not in repr(evolve(settings.access, model="x"))
