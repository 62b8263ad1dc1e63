"""A managed node that a request for an illegal transition does not kill."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode


class ManagedNode(LifecycleNode):  # type: ignore[misc]
    """A LifecycleNode that answers an illegal request with success=false.

    rclpy, at least up to 8.0, lets the error out of the service's callback, and with it the executor ends.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        service = self._service_change_state
        service.callback = self._guarded(service.callback)

    @property
    def state(self) -> str:
        """The label of the state that it is in."""
        return str(self._state_machine.current_state[1])

    def _guarded(self, change_state: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        def guarded(request: Any, response: Any) -> Any:
            before = self.state
            try:
                return change_state(request, response)
            except rclpy_implementation.RCLError:
                asked = request.transition.label or request.transition.id
                self.get_logger().warning(f"refused transition '{asked}' from state '{before}'")
                response.success = False
                return response

        return guarded
