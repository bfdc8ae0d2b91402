"""What the mappings and lists of the model have in common: nothing can change them.

Knows pydantic. Does not know a single key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, WrapSerializer


class Part(BaseModel):
    """A mapping of the file: immutable, and without keys that are not declared."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def _plain_dict(value: Mapping[str, Any], handler: Callable[[Any], Any]) -> Any:
    return handler(dict(value))


READ_ONLY: Final = (AfterValidator(MappingProxyType), WrapSerializer(_plain_dict))
"""What makes a mapping whose keys the operator chooses as immutable as a Part."""


@dataclass(frozen=True, slots=True)
class OrOne:
    """Marks a list that may be written as its one item.

    Pydantic sees lists only: relay.config.prepare makes one of the item before.
    """


ONE_OR_MORE: Final = OrOne()
