package io.winnow.core.kernel;

import ai.djl.Device;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.index.NDIndex;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import io.winnow.core.InvalidInputException;
import io.winnow.core.checkpoint.TensorInfo;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;

/**
 * Turns tensors of a checkpoint into weights on a device.
 *
 * <p>A tensor that is wanted as it is, on the CPU, stays in the mapped file: nothing is copied, and
 * pages that are never touched cost no memory. Close the reader when all weights are read; a
 * mapping lives on for as long as a weight looks into it. Not thread-safe, not part of the API.
 */
public final class WeightReader implements AutoCloseable {
  private final FusedKernel kernel;
  private final NDManager manager;
  private final NDManager mappings;
  private final DataType type;
  private final Map<Mapping, NDArray> mapped = new HashMap<>();

  /**
   * Creates a reader.
   *
   * @param manager the manager on the wanted device that the weights will belong to
   * @param type the wanted type: float32, float16 or bfloat16
   */
  public WeightReader(FusedKernel kernel, NDManager manager, DataType type) {
    this.kernel = kernel;
    this.manager = manager;
    this.type = type;
    mappings = manager.newSubManager(Device.cpu());
  }

  /**
   * Reads one tensor in the wanted type.
   *
   * @throws InvalidInputException if it is of a type we do not compute with
   */
  public DeviceTensor read(TensorInfo info) {
    return read(info, type);
  }

  /** Reads one tensor in float32, whatever the wanted type; otherwise like {@link #read}. */
  public DeviceTensor readWide(TensorInfo info) {
    return read(info, DataType.FLOAT32);
  }

  private DeviceTensor read(TensorInfo info, DataType type) {
    DataType stored = ScalarTypes.dataTypeOf(info.name(), info.type());
    Shape shape = new Shape(info.shape().stream().mapToLong(Long::longValue).toArray());
    Device device = manager.getDevice();
    boolean converted = stored != type || device.isGpu();
    DeviceTensor view = DeviceTensor.owning(view(info, stored).reshape(shape));
    if (!converted) {
      return view.attach(manager);
    }
    try (view) {
      return convert(view, type, device);
    }
  }

  private DeviceTensor convert(DeviceTensor view, DataType type, Device device) {
    if (type == DataType.BFLOAT16) {
      return kernel
          .module()
          .runForTensor(
              manager,
              "convert",
              view,
              ScalarTypes.deviceName(device),
              (long) ScalarTypes.of(type));
    }
    // DJL's own conversion makes an ordinary tensor, which can be trained.
    NDArray array = view.rawArray().toType(type, true);
    NDArray moved = array.toDevice(device, false);
    if (moved != array) {
      array.close();
    }
    moved.attach(manager);
    return DeviceTensor.owning(moved);
  }

  private NDArray view(TensorInfo info, DataType stored) {
    int elementBytes = info.type().bytes();
    long elements = info.length() / elementBytes;
    if (info.offset() % elementBytes == 0) {
      return slice(
          map(info.file(), ScalarTypes.of(stored), elementBytes),
          info.offset() / elementBytes,
          elements);
    }
    // The safetensors format does not promise alignment.
    try (DeviceTensor bytes =
        DeviceTensor.owning(
            slice(map(info.file(), ScalarTypes.UINT8, 1), info.offset(), info.length()))) {
      return kernel
          .module()
          .runForTensor(mappings, "reinterpret", bytes, (long) ScalarTypes.of(stored))
          .rawArray();
    }
  }

  private static NDArray slice(NDArray file, long from, long count) {
    return file.get(new NDIndex().addSliceDim(from, from + count));
  }

  private NDArray map(Path file, int scalarType, int elementBytes) {
    return mapped.computeIfAbsent(
        new Mapping(file, scalarType),
        key -> {
          try (NDManager scratch = mappings.newSubManager()) {
            long elements = Files.size(file) / elementBytes;
            return kernel
                .module()
                .runOutsideInferenceMode(
                    mappings,
                    "map_file",
                    scratch.create(file.toAbsolutePath().toString()),
                    scratch.create(elements),
                    scratch.create((long) scalarType));
          } catch (IOException e) {
            throw new UncheckedIOException("Cannot map " + file, e);
          }
        });
  }

  @Override
  public void close() {
    mapped.clear();
    mappings.close();
  }

  private record Mapping(Path file, int scalarType) {}
}
