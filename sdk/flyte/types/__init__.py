"""Types of your own as inputs and outputs of tasks.

Example:
    ```python
    class Celsius:
        def __init__(self, degrees: float) -> None:
            self.degrees = degrees

    class CelsiusTransformer(flyte.types.TypeTransformer[Celsius]):
        def __init__(self) -> None:
            super().__init__("celsius", Celsius)

        def get_literal_type(self, t: type) -> dict:
            return {"type": "number"}

        def to_literal(self, python_val, python_type, expected):
            return python_val.degrees

        def to_python_value(self, lv, expected_python_type):
            return Celsius(lv)

    flyte.types.TypeEngine.register(CelsiusTransformer())
    ```
"""

from __future__ import annotations

from flyte.types._engine import TypeEngine, TypeTransformer

__all__ = ["TypeEngine", "TypeTransformer"]
