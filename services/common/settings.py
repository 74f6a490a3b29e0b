"""Settings: what every service has in common, and how wrong ones are refused."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Any, Literal, Self

from platformdirs import user_data_path
from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.common.auth import Token, read_token
from services.common.errors import InvalidArgument


def default_data_dir() -> Path:
    """Returns the user's data directory for the platform, such as ``~/.local/share/hangar``."""
    return user_data_path("hangar", appauthor=False)


class ServiceSettings(BaseSettings):
    """Settings of one service, frozen, from ``HANGAR_<SERVICE>_<NAME>`` and the shared names.

    A service subclasses it with its prefix and makes one with `load`:

        class Settings(ServiceSettings):
            model_config = SettingsConfigDict(env_prefix="HANGAR_ADMIN_")
            http_port: int = 8080
    """

    model_config = SettingsConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    data_dir: Path = Field(default_factory=default_data_dir, validation_alias="HANGAR_DATA_DIR")
    """Directory of everything that is kept."""
    log_format: Literal["console", "json"] = Field("console", validation_alias="HANGAR_LOG_FORMAT")
    """For people or for programs."""
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", validation_alias="HANGAR_LOG_LEVEL"
    )
    """Least level that is logged."""
    otlp_endpoint: str = Field("", validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT")
    """Where spans go over OTLP gRPC; empty for nowhere."""
    token: SecretStr = Field(SecretStr(""), validation_alias="HANGAR_TOKEN")
    """What callers have to show, and what is shown to other services; empty for `token_file`."""
    token_file: str = Field("", validation_alias="HANGAR_TOKEN_FILE")
    """File with that token; empty for none: then only this machine can call."""

    def access_token(self) -> Token | None:
        """Returns the token of the installation, None when it has none.

        Raises:
            HangarError: It is no token, or its file cannot be read.
        """
        if self.token.get_secret_value():
            return Token(self.token.get_secret_value().strip())
        return read_token(Path(self.token_file).expanduser()) if self.token_file else None

    @classmethod
    def load(cls, **given: Any) -> Self:
        """Returns the settings of this process.

        Args:
            **given: Settings by name that win over the environment, such as those of the command line. None
                stands for not given.

        Raises:
            InvalidArgument: A name is unknown or a value is wrong. The message names all of them.
        """
        problems = cls._unknown()
        try:
            settings = cls(**{name: value for name, value in given.items() if value is not None})
        except ValidationError as error:
            problems += [cls._problem(each) for each in error.errors()]
        if problems:
            raise InvalidArgument("; ".join(problems), reason="SETTINGS_INVALID")
        return settings

    @classmethod
    def environment_names(cls) -> dict[str, str]:
        """Returns the name of every setting by its environment variable."""
        prefix = cls.model_config.get("env_prefix", "")
        return {
            str(field.validation_alias or f"{prefix}{name}").upper(): name
            for name, field in cls.model_fields.items()
        }

    @classmethod
    def _unknown(cls) -> list[str]:
        prefix = cls.model_config.get("env_prefix", "").upper()
        known = [name for name in cls.environment_names() if name.startswith("HANGAR_")]
        problems = []
        for name in sorted(os.environ):
            if prefix and name.startswith(prefix) and name not in known:
                near = difflib.get_close_matches(name, known, n=3, cutoff=0.6) or sorted(known)
                problems.append(
                    f"environment variable {name} is not a setting: did you mean {' or '.join(near)}?"
                )
        return problems

    @classmethod
    def _problem(cls, error: Any) -> str:
        place = str(error["loc"][0]) if error["loc"] else ""
        by_name = {name: variable for variable, name in cls.environment_names().items()}
        variable = by_name.get(place, place)
        if error["type"] == "extra_forbidden":
            return f"{place} is not a setting"
        wrong = f"{error['msg'][0].lower()}{error['msg'][1:]}"
        if not place:  # about several settings; the input is all of them, secrets too
            return (
                f"settings {cls.model_config.get('env_prefix', '')}*: {wrong.removeprefix('value error, ')}"
            )
        if place == "HANGAR_TOKEN":
            return f"setting {variable} is not valid: {wrong}"
        return f"setting {variable} is {error['input']!r}: {wrong}"
