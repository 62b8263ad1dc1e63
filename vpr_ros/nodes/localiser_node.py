"""The node `vpr_localiser`: camera images in, GPS pose hypotheses out."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from threading import Thread
from time import perf_counter

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import InvalidHandle
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.task import Future
from std_srvs.srv import Trigger

from vpr_ros.errors import InputError, first_line
from vpr_ros.live_localiser import LiveLocaliser
from vpr_ros.nodes.active import FRESH, Active
from vpr_ros.nodes.health import Health
from vpr_ros.nodes.managed import ManagedNode
from vpr_ros.nodes.outputs import Outputs
from vpr_ros.nodes.parameters import NodeParameters
from vpr_ros.nodes.silent_loss import CURE
from vpr_ros.nodes.status import node_status
from vpr_ros.nodes.topics import DIAGNOSTICS, LOAD_MAP, LOCALISE, NAME

#: Of what it says of itself on /diagnostics.
STATUS = f"{NAME}: localisation"
#: Seconds between two messages on /diagnostics.
DIAGNOSTICS_PERIOD = 1.0

SUCCESS, ERROR = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.ERROR


class LocaliserNode(ManagedNode):
    """Encodes the latest image, searches the map, publishes hypotheses with the image's stamp.

    Messages, services and transitions are handled on the executor's thread; images are answered on a second,
    maps are loaded on a third, and `LiveLocaliser` is where these two meet.
    """

    def __init__(self) -> None:
        self._active: Active | None = None  # first: Kilted's context destroys a half-made node, too
        super().__init__(NAME)
        self._node_parameters = NodeParameters(self)
        self._health = Health()
        self._reported = (self._health.counts(), perf_counter())
        self._error = ""  # why it is unconfigured, or about to be
        self._live: LiveLocaliser | None = None  # while configured
        self._outputs: Outputs | None = None
        self._loading = self._told_of_silence = self._told_of_loss = False
        self._diagnostics = DIAGNOSTICS.publisher(self)
        self.create_service(LOCALISE.kind, LOCALISE.name, self._on_localise)
        # in a group of its own: everything else goes on while a map is loaded
        own_group = ReentrantCallbackGroup()
        self.create_service(LOAD_MAP.kind, LOAD_MAP.name, self._on_load_map, callback_group=own_group)
        # by which the other threads wake the executor
        self._alarm = self.create_guard_condition(self._on_alarm)
        # a steady clock: diagnostics go on while simulated time stands still
        self.create_timer(DIAGNOSTICS_PERIOD, self._report, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def start(self) -> bool:
        """Configure and activate, unless somebody else shall; tell whether that went well."""
        if not self._node_parameters.now.autostart:
            return True
        return bool(self.trigger_configure() == SUCCESS and self.trigger_activate() == SUCCESS)

    def on_configure(self, _: LifecycleState) -> TransitionCallbackReturn:
        """Open weights and map."""
        self._error = ""
        now = self._node_parameters.now
        try:
            # on this thread, not on the worker's: PyTorch keeps threads for each, together more than cores,
            # which OpenMP lets sleep while they wait. Where they spin, an image takes half the time, but ten
            # times as long as soon as another process wants one of the cores (docs/results.md)
            self._live = LiveLocaliser(
                now.weights_file,
                self._node_parameters.map_folder,
                now.device,
                now.settings,
                cpu_instead=now.out_of_memory == "cpu",
                bfloat16=now.bfloat16,
            )
            if now.compressed:
                self._live.decoder()  # now, not with the first image
            self._outputs = Outputs(self)
        except Exception as error:
            return self._fail(error)
        return SUCCESS

    def on_activate(self, _: LifecycleState) -> TransitionCallbackReturn:
        """Begin to hear and to answer."""
        try:
            self._activate()
        except Exception as error:
            return self._fail(error)
        return SUCCESS

    def _activate(self) -> None:
        live, outputs = self._live, self._outputs
        if live is None or outputs is None:
            raise RuntimeError("activated without being configured")
        self._active = Active(self, live, outputs, self._node_parameters, self._health, self._give_up)
        place_map, runs_on = live.localiser.place_map, live.localiser.engine.runs_on
        self.get_logger().info(f"ready: {len(place_map)} places of {place_map.folder}, encoding on {runs_on}")
        if doubts := live.localiser.doubts():
            self.get_logger().warning(doubts)

    def on_deactivate(self, _: LifecycleState) -> TransitionCallbackReturn:
        """Be silent, and let the GPU be."""
        self._deactivate()
        # where it has given up: an error in a transition is how rclpy comes to ErrorProcessing
        return ERROR if self._error else SUCCESS

    def on_cleanup(self, _: LifecycleState) -> TransitionCallbackReturn:
        """Give back model, map and topics."""
        self._deactivate()
        if self._outputs is not None:
            self._outputs.close()
            self._outputs = None
        if self._live is not None:
            self._live.close()
            self._live = None
        return SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give back everything, for good."""
        return self.on_cleanup(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give back everything, and be unconfigured; /diagnostics say why."""
        return self.on_cleanup(state)

    def _deactivate(self) -> None:
        if self._active is not None:
            self._active.close()
            self._active = None

    def _fail(self, error: Exception) -> TransitionCallbackReturn:
        if rclpy.ok():  # else it was told to stop meanwhile, and whatever failed, failed for that
            known = isinstance(error, (InputError, OSError))
            self._error = first_line(error) if known else f"{type(error).__name__}: {first_line(error)}"
            self.get_logger().error(self._error)
        return ERROR

    def _give_up(self, reason: str) -> None:
        """Have the executor's thread leave the active state; this one may be the worker's."""
        self._error = reason
        self._alert()

    def _alert(self) -> None:
        with suppress(InvalidHandle):  # the node has ended meanwhile
            self._alarm.trigger()

    def _on_alarm(self) -> None:
        if self._error and self.state == "active":
            self.get_logger().error(self._error)
            self.trigger_deactivate()

    def _on_localise(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Send the latest accepted pose, if it is fresh, to whoever starts from /initialpose."""
        pose = self._active.accepted() if self._active is not None else None
        response.success = pose is not None
        if pose is None or self._outputs is None:
            response.message = f"no image has been accepted in the last {FRESH:g} s"
            return response
        self._outputs.publish_initial_pose(pose)
        position = pose.pose.pose.position
        response.message = f"{position.x:.2f} east, {position.y:.2f} north, sent to /initialpose"
        return response

    async def _on_load_map(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Open the map that the parameter names beside the one in use, and switch between two images."""
        response.success = False
        if self._live is None:
            response.message = f"the node is {self.state}: configure it, which opens the map"
        elif self._loading:
            response.message = "a map is being loaded: ask again when that is done"
        else:
            self._loading = True
            try:
                response.message = await self._load(self._live, self._node_parameters.map_folder)
                response.success = True
                self.get_logger().info(f"map changed: {response.message}")
            except (InputError, OSError) as error:
                response.message = first_line(error)
                self.get_logger().warning(f"map not changed: {response.message}")
            finally:
                self._loading = False
        return response

    def _load(self, live: LiveLocaliser, folder: Path) -> Future:
        """Load on a thread of its own, and say what was loaded."""
        loaded = Future(executor=self.executor)

        def load() -> None:
            try:
                place_map = live.load(folder)
                loaded.set_result(f"{len(place_map)} places of {place_map.folder}")
            except Exception as error:
                known = isinstance(error, (InputError, OSError))
                what = "" if known else f"{folder}: {type(error).__name__}: "
                # a new one: the old one's traceback keeps what was opened of the refused map
                loaded.set_exception(InputError(what + first_line(error)))
            self._alert()

        Thread(target=load, name="load map", daemon=True).start()
        return loaded

    def _report(self) -> None:
        counts, now = self._health.counts(), perf_counter()
        (before, then), self._reported = self._reported, (counts, now)
        new = {name: counts[name] - before[name] for name in counts}
        silence = self._active.silence() if self._active is not None else ""
        refused_prior = self._active.refused_prior if self._active is not None else ""
        lost = CURE in silence
        if silence and not (self._told_of_loss if lost else self._told_of_silence):
            self.get_logger().warning(silence)
        self._told_of_loss |= lost
        self._told_of_silence = bool(silence)
        status = node_status(
            self.state, self._error, self._live, silence, refused_prior, self._health, new, now - then
        )
        status.name, status.hardware_id = STATUS, self.get_fully_qualified_name()
        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)

    def destroy_node(self) -> None:
        """Stop the worker, then the node."""
        self._deactivate()
        super().destroy_node()
