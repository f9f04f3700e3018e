"""TensorRT and TensorRT-RTX, whichever module it is given: they share an API, and differences are asked for by name.

11.x has no BuilderFlag.FP16 and is always strongly typed, 10.x has NetworkDefinitionCreationFlag.STRONGLY_TYPED, 8.6
has neither. Nothing here compares version numbers.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from edgedepth.core.errors import DeviceMemoryError, EngineError, ExportFailedError, StageError, UnsupportedError
from edgedepth.core.progress import Progress
from edgedepth.trt.adapter import BuildRequest, BuiltPlan, EngineTensor, Gpu
from edgedepth.trt.building_log import make_logger, make_monitor
from edgedepth.trt.cuda_api import CudaGpu

if TYPE_CHECKING:
    import tensorrt as trt

__all__ = ["LoadedEngine", "TensorRtApi", "is_strongly_typed"]

_REPORT = "report it with this line and the versions that 'edgedepth doctor' lists"
_LESS_MEMORY = (
    "close other programs; limit the workspace: edgedepth build BUNDLE --workspace-mb 1024; or export less: edgedepth "
    "export --target tensorrt --fp16 --tile-batch 1"
)
_HEADER = 64  # bytes of a plan that tell what it is


def is_strongly_typed(module: Any) -> bool:
    """Whether a TensorRT takes its precisions from the graph: by a flag (10.x), or always (11.x and RTX)."""
    by_flag = hasattr(module.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")
    return by_flag or not hasattr(module.BuilderFlag, "FP16")


class TensorRtApi:
    """One provider, behind the adapter; see adapter.TensorRt.

    Args:
        module: `tensorrt` or `tensorrt_rtx`, imported.
        provider: its name.
    """

    def __init__(self, module: Any, provider: str) -> None:
        self.provider = provider
        self.version: str = module.__version__
        self.ahead_of_time = _ahead_of_time(module)
        self._trt = module

    def build(self, request: BuildRequest, progress: Progress) -> BuiltPlan:
        """See adapter.TensorRt."""
        module = self._trt
        log = make_logger(module)
        builder: trt.Builder = module.Builder(log)
        network = builder.create_network(_network_flags(module))
        self._parse(network, log, request)
        config = builder.create_builder_config()
        self._configure(builder, network, config, request)
        on_gpu = _left_to_gpu(network, config) if request.options.dla_core is not None else ()
        monitor = make_monitor(module, progress)
        if monitor is not None:
            config.progress_monitor = monitor
        cache = _read_timing_cache(config, request)
        log.forget()
        plan = builder.build_serialized_network(network, config)
        if monitor is not None:
            monitor.reraise()
        if plan is None:
            self._refuse_build(request, log.first_error())
        if cache is not None and request.timing_cache is not None:
            request.timing_cache.parent.mkdir(parents=True, exist_ok=True)
            request.timing_cache.write_bytes(memoryview(cache.serialize()))
        return BuiltPlan(data=memoryview(plan), on_gpu=on_gpu)

    def refusal(self, plan: bytes | memoryview) -> str:
        """See adapter.TensorRt."""
        if len(plan) < _HEADER:
            return f"it has {len(plan)} bytes; the header alone has {_HEADER}"
        if not hasattr(self._trt.Runtime, "get_engine_validity"):
            return ""
        runtime: Any = self._trt.Runtime(make_logger(self._trt))
        _, why = runtime.get_engine_validity(bytes(plan[: getattr(runtime, "engine_header_size", _HEADER)]))
        malformed = int(self._trt.EngineInvalidityDiagnostics.MALFORMED_ENGINE)
        # Without a GPU every plan is "invalid" here; the reasons tell which are none at all.
        return "TensorRT says that its header is malformed" if int(why) & malformed else ""

    def load(self, plan: bytes | memoryview, gpu: Gpu, *, dla_core: int | None) -> LoadedEngine:
        """See adapter.TensorRt."""
        log = make_logger(self._trt)
        runtime: trt.Runtime = self._trt.Runtime(log)
        if dla_core is not None:
            runtime.DLA_core = dla_core
        engine = runtime.deserialize_cuda_engine(plan)
        if engine is None:
            self._refuse_load("does not load", log.first_error())
        context = engine.create_execution_context()
        if context is None:
            self._refuse_load("loads, and gives no context to run in", log.first_error())
        assert isinstance(gpu, CudaGpu)
        return LoadedEngine(self._trt, runtime, engine, context, gpu)

    def _parse(self, network: trt.INetworkDefinition, log: Any, request: BuildRequest) -> None:
        parser: trt.OnnxParser = self._trt.OnnxParser(network, log)
        if parser.parse_from_file(str(request.onnx)):
            return
        if parser.num_errors == 0:
            raise ExportFailedError(f"{request.onnx} doesn't parse: {log.first_error()}", remedy=_REPORT)
        error = parser.get_error(0)  # the others follow from it
        node = f"node {error.node_name()!r} ({error.node_operator()})" if error.node_name() else "the graph"
        raise ExportFailedError(
            f"{request.onnx}: {node} is refused by {self.provider} {self.version}: {_line(error.desc())}",
            remedy=f"every such node is listed by: edgedepth build BUNDLE --check-only; {_REPORT}",
        )

    def _configure(
        self, builder: trt.Builder, network: trt.INetworkDefinition, config: Any, request: BuildRequest
    ) -> None:
        """Everything that is asked of the builder; what this TensorRT lacks is refused, not left out."""
        module, options = self._trt, request.options
        if hasattr(module.BuilderFlag, "TF32"):
            config.clear_flag(module.BuilderFlag.TF32)  # it keeps 11 bits of what the bundle calls fp32
        if options.workspace_mb is not None:
            config.set_memory_pool_limit(module.MemoryPoolType.WORKSPACE, options.workspace_mb << 20)
        if options.optimization_level is not None:
            if not hasattr(config, "builder_optimization_level"):
                raise UnsupportedError(
                    f"{self.provider} {self.version} has no optimisation level", remedy="leave --optimization-level out"
                )
            config.builder_optimization_level = options.optimization_level
        if request.sms:
            if missing := [sm for sm in request.sms if sm not in self.ahead_of_time]:
                raise UnsupportedError(
                    f"{self.provider} {self.version} doesn't build for SM {missing[0]}; it builds for "
                    f"{', '.join(map(str, self.ahead_of_time)) or 'the GPU that is here alone'}",
                    remedy="choose --sm among them; an engine for another GPU is built on it, by 'edgedepth build'",
                )
            config.num_compute_capabilities = len(request.sms)
            for index, sm in enumerate(request.sms):
                config.set_compute_capability(getattr(module.ComputeCapability, f"SM{sm}"), index)
        if request.batch is not None:
            config.add_optimization_profile(_profile(builder, network, request.batch))
        if options.dla_core is not None:
            cores = getattr(builder, "num_DLA_cores", 0)
            if options.dla_core >= cores or not hasattr(config, "can_run_on_DLA"):
                raise UnsupportedError(
                    f"DLA core {options.dla_core} was asked for; {self.provider} {self.version} offers {cores} here. "
                    "NVIDIA builds for the DLA of Orin with TensorRT up to 10.7 and from 11.4.1 (JetPack 7.2.2) on",
                    remedy="leave --dla out: the GPU runs the whole stage",
                )
            config.default_device_type = module.DeviceType.DLA
            config.DLA_core = options.dla_core
            config.set_flag(module.BuilderFlag.GPU_FALLBACK)

    def _refuse_build(self, request: BuildRequest, said: str) -> None:
        where = f"{request.onnx}: {self.provider} {self.version} can't build it: {said}"
        if _is_out_of_memory(said):
            raise DeviceMemoryError(where, remedy=_LESS_MEMORY)
        raise ExportFailedError(where, remedy=_REPORT)

    def _refuse_load(self, what: str, said: str) -> None:
        problem = f"the engine {what} in {self.provider} {self.version}: {said}"
        if _is_out_of_memory(said):
            raise DeviceMemoryError(problem, remedy=_LESS_MEMORY)
        raise EngineError(problem, remedy="build it again on this device: edgedepth build BUNDLE")


class LoadedEngine:
    """An engine and its one execution context; see adapter.Engine."""

    def __init__(self, module: Any, runtime: Any, engine: trt.ICudaEngine, context: Any, gpu: CudaGpu) -> None:
        self._runtime = runtime  # has to outlive its engines
        self._engine: Any = engine
        self._context: trt.IExecutionContext | None = context
        self._gpu = gpu
        self.capturable = bool(getattr(context, "is_stream_capturable", lambda _: True)(gpu.stream))
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        self.tensors = tuple(
            EngineTensor(
                name=name,
                dtype=_dtype(module, engine.get_tensor_dtype(name)),
                shape=_sizes(engine.get_tensor_shape(name)),
                is_input=engine.get_tensor_mode(name) == module.TensorIOMode.INPUT,
            )
            for name in names
        )

    def bind(self, name: str, address: int) -> None:
        """See adapter.Engine."""
        assert self._context is not None
        if not self._context.set_tensor_address(name, address):
            raise StageError(f"TensorRT doesn't take the address of {name!r}", remedy=_REPORT)

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> None:
        """See adapter.Engine."""
        assert self._context is not None
        if not self._context.set_input_shape(name, shape):
            raise StageError(f"TensorRT doesn't take {name!r} in the shape {shape}", remedy=_REPORT)

    def enqueue(self) -> None:
        """See adapter.Engine."""
        assert self._context is not None
        if not self._context.execute_async_v3(self._gpu.stream):
            raise StageError("TensorRT refused to run the engine", remedy=_REPORT)

    def close(self) -> None:
        """See adapter.Engine."""
        self._context = None
        self._engine = None
        self._runtime = None


def _ahead_of_time(module: Any) -> tuple[int, ...]:
    members = getattr(getattr(module, "ComputeCapability", None), "__members__", {})
    return tuple(int(name.removeprefix("SM")) for name in members if name.startswith("SM"))


def _network_flags(module: Any) -> int:
    flag = getattr(module.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _profile(builder: trt.Builder, network: trt.INetworkDefinition, batch: tuple[int, int, int]) -> Any:
    profile = builder.create_optimization_profile()
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        shapes: list[Any] = [tuple(size if dim < 0 else dim for dim in _sizes(tensor.shape)) for size in batch]
        profile.set_shape(tensor.name, *shapes)
    return profile


def _left_to_gpu(network: trt.INetworkDefinition, config: Any) -> tuple[str, ...]:
    """Layers that a DLA can't run: told, and not found out by measuring."""
    layers = (network.get_layer(index) for index in range(network.num_layers))
    return tuple(f"{layer.name} ({_enum(layer.type)})" for layer in layers if not config.can_run_on_DLA(layer))


def _enum(member: Any) -> str:
    """ "SOFTMAX" of LayerType.SOFTMAX."""
    return str(member).rpartition(".")[2]


def _read_timing_cache(config: Any, request: BuildRequest) -> Any:
    """The timing cache to build with; None where there is none, or it would be of no use: without a GPU, unmeasured."""
    if request.timing_cache is None or request.sms or not hasattr(config, "create_timing_cache"):
        return None
    known = request.timing_cache.read_bytes() if request.timing_cache.is_file() else b""
    cache = config.create_timing_cache(known)
    # A cache of another device or version is refused here; then an empty one is begun.
    if not config.set_timing_cache(cache, ignore_mismatch=False):
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, ignore_mismatch=False)
    return cache


def _sizes(dims: trt.Dims) -> tuple[int, ...]:
    return tuple(int(dims[index]) for index in range(len(dims)))


def _dtype(module: Any, dtype: Any) -> str:
    names = {"FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16", "INT8": "int8", "INT32": "int32"}
    return next((names[name] for name in names if dtype == getattr(module.DataType, name, math.nan)), str(dtype))


def _is_out_of_memory(said: str) -> bool:
    text = said.lower()
    return any(sign in text for sign in ("out of memory", "outofmemory", "out_of_memory", "bad_alloc", "insufficient"))


def _line(text: str) -> str:
    return " ".join(text.split())
