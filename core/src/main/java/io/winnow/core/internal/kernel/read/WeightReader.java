package io.winnow.core.internal.kernel.read;

import ai.djl.Device;
import ai.djl.engine.EngineException;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDArrays;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.index.NDIndex;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.checkpoint.StoredWeight;
import io.winnow.core.internal.kernel.array.DeviceTensor;
import io.winnow.core.internal.kernel.array.ScalarTypes;
import io.winnow.core.internal.kernel.fused.FusedKernel;
import io.winnow.core.internal.safetensors.TensorInfo;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;

/**
 * Turns tensors of a checkpoint into weights on a device.
 *
 * <p>A tensor that is wanted as it is, on the CPU, stays in the mapped file: nothing is copied, and
 * pages that are never touched cost no memory. Close the reader when all weights are read; a
 * mapping lives on for as long as a weight looks into it. Not thread-safe, not part of the API.
 */
public final class WeightReader implements AutoCloseable {
  /** What the removable weights' own mappings may take of the 128 TiB a process can address. */
  private static final long MAX_MAPPED_BYTES = 32L << 40;

  /** Linux allows a process 65,530 mappings by default. */
  private static final int MAX_MAPPINGS = 16_000;

  private final FusedKernel kernel;
  private final NDManager manager;
  private final NDManager mappings;
  private final Dequantizer dequantizer;
  private final DataType type;
  private final Consumer<String> listener;
  private final Map<Mapping, NDArray> shared = new HashMap<>();
  private long mappedBytes;
  private int mappingCount;

  /**
   * Creates a reader.
   *
   * @param manager the manager on the wanted device that the weights will belong to
   * @param type the wanted type: float32, float16 or bfloat16
   */
  public WeightReader(FusedKernel kernel, NDManager manager, DataType type) {
    this(kernel, manager, type, tensor -> {});
  }

  /**
   * Creates a reader that is watched.
   *
   * @param listener is told the name of every tensor that is read, each time
   */
  public WeightReader(
      FusedKernel kernel, NDManager manager, DataType type, Consumer<String> listener) {
    this.listener = listener;
    this.kernel = kernel;
    this.manager = manager;
    this.type = type;
    mappings = manager.newSubManager(Device.cpu());
    dequantizer = new Dequantizer(kernel.module(), manager, type);
  }

  /**
   * Reads one tensor in the wanted type.
   *
   * @throws InvalidInputException if it is of a type we do not compute with, or its file cannot be
   *     mapped
   */
  public DeviceTensor read(TensorInfo info) {
    return read(info, type, false);
  }

  /**
   * Reads one weight in the wanted type, otherwise like {@link #read(TensorInfo)}. A quantised one
   * is computed, and takes the memory of its result; other types than bfloat16 twice, for a moment.
   *
   * @throws InvalidInputException if among its numbers is one that is none
   */
  public DeviceTensor read(StoredWeight weight) {
    return read(weight, false);
  }

  /**
   * Reads one tensor in float32, whatever the wanted type; otherwise like {@link
   * #read(TensorInfo)}.
   */
  public DeviceTensor readWide(TensorInfo info) {
    return read(info, DataType.FLOAT32, false);
  }

  /**
   * Reads one weight that may be removed before the others: it gets a mapping of its own, whose
   * memory comes back when it is closed. Otherwise like {@link #read(StoredWeight)}.
   */
  public DeviceTensor readRemovable(StoredWeight weight) {
    return read(weight, true);
  }

  /**
   * Reads matrices that have one input, so that one product computes all of them: where they are
   * copied anyway, they become rows of one matrix. Otherwise like {@link #read(StoredWeight)}.
   *
   * @return the matrices, and behind them the one of which they are views, if there is one
   */
  public List<DeviceTensor> readStacked(List<StoredWeight> weights) {
    List<DeviceTensor> tensors = new ArrayList<>(weights.stream().map(this::read).toList());
    if (weights.stream().allMatch(this::staysInFile) || type == DataType.BFLOAT16) {
      return tensors;
    }
    NDArray all =
        NDArrays.concat(new NDList(tensors.stream().map(DeviceTensor::array).toList()), 0);
    all.attach(manager);
    tensors.forEach(DeviceTensor::close);
    tensors.clear();
    long row = 0;
    for (StoredWeight weight : weights) {
      long next = row + weight.shape().get(0);
      tensors.add(
          DeviceTensor.owning(all.get(new NDIndex().addSliceDim(row, next))).attach(manager));
      row = next;
    }
    tensors.add(DeviceTensor.owning(all));
    return tensors;
  }

  /** Reads matrices as one of all their rows, which is a copy. */
  public DeviceTensor readJoined(List<StoredWeight> weights) {
    DeviceTensor[] parts = weights.stream().map(this::read).toArray(DeviceTensor[]::new);
    DeviceTensor joined = kernel.module().runForTensor(manager, "join", (Object) parts);
    Arrays.stream(parts).forEach(DeviceTensor::close);
    return joined;
  }

  private boolean staysInFile(StoredWeight weight) {
    TensorInfo info = weight.values();
    return weight instanceof StoredWeight.Plain
        && ScalarTypes.dataTypeOf(info.name(), info.type()) == type
        && !manager.getDevice().isGpu();
  }

  private DeviceTensor read(StoredWeight weight, boolean removable) {
    if (weight instanceof StoredWeight.Plain) {
      return read(weight.values(), type, removable);
    }
    try (NDManager scratch = mappings.newSubManager();
        DeviceTensor codes = bytes(scratch, weight.values())) {
      if (weight instanceof StoredWeight.Fp8 fp8) {
        try (DeviceTensor scales = readWide(fp8.scales())) {
          return dequantizer.compute(fp8, codes, scales);
        }
      }
      StoredWeight.Mxfp4 mxfp4 = (StoredWeight.Mxfp4) weight;
      try (DeviceTensor scales = bytes(scratch, mxfp4.scales())) {
        return dequantizer.compute(mxfp4, codes, scales);
      }
    }
  }

  private DeviceTensor bytes(NDManager scratch, TensorInfo info) {
    NDArray file = share(info.file(), ScalarTypes.UINT8, 1);
    return DeviceTensor.owning(slice(scratch, file, info.offset(), info.length()));
  }

  private DeviceTensor read(TensorInfo info, DataType wanted, boolean removable) {
    listener.accept(info.name());
    DataType stored = ScalarTypes.dataTypeOf(info.name(), info.type());
    Shape shape = new Shape(info.shape().stream().mapToLong(Long::longValue).toArray());
    Device device = manager.getDevice();
    boolean inPlace = stored == wanted && !device.isGpu();
    try (NDManager scratch = mappings.newSubManager()) {
      NDArray view = view(scratch, info, stored, inPlace && removable);
      DeviceTensor tensor = DeviceTensor.owning(view.reshape(shape));
      if (!inPlace) {
        tensor = convert(tensor, stored, wanted, device);
      }
      return tensor.attach(manager);
    }
  }

  private DeviceTensor convert(DeviceTensor view, DataType stored, DataType wanted, Device device) {
    if (!device.isGpu() && wanted != DataType.BFLOAT16) {
      // DJL's own conversion makes an ordinary tensor, which can be trained.
      return DeviceTensor.owning((NDArray) view.rawArray().toType(wanted, true));
    }
    DeviceTensor converted =
        kernel
            .module()
            .runForTensor(
                manager,
                "convert",
                view,
                ScalarTypes.deviceName(device),
                (long) ScalarTypes.of(wanted));
    if (wanted == DataType.BFLOAT16) {
      return converted;
    }
    try (converted) {
      return DeviceTensor.owning(converted.array().duplicate());
    }
  }

  /** Returns the elements in the file, owned by {@code scratch}, {@code [elements]}. */
  private NDArray view(NDManager scratch, TensorInfo info, DataType stored, boolean ownMapping) {
    int elementBytes = info.type().bytes();
    long elements = info.length() / elementBytes;
    if (info.offset() % elementBytes == 0) {
      long first = info.offset() / elementBytes;
      int scalarType = ScalarTypes.of(stored);
      long end = info.offset() + info.length();
      if (ownMapping && mappingCount < MAX_MAPPINGS && mappedBytes + end <= MAX_MAPPED_BYTES) {
        mappingCount++;
        mappedBytes += end;
        return slice(
            scratch, map(scratch, info.file(), scalarType, first + elements), first, elements);
      }
      return slice(scratch, share(info.file(), scalarType, elementBytes), first, elements);
    }
    // The safetensors format does not promise alignment: such a tensor is copied.
    NDArray bytes =
        slice(scratch, share(info.file(), ScalarTypes.UINT8, 1), info.offset(), info.length());
    return kernel
        .module()
        .runOutsideInferenceMode(
            scratch, "reinterpret", bytes, scratch.create((long) ScalarTypes.of(stored)));
  }

  private static NDArray slice(NDManager manager, NDArray file, long from, long count) {
    NDArray slice = file.get(new NDIndex().addSliceDim(from, from + count));
    slice.attach(manager);
    return slice;
  }

  private NDArray share(Path file, int scalarType, int elementBytes) {
    return shared.computeIfAbsent(
        new Mapping(file, scalarType),
        key -> map(mappings, file, scalarType, size(file) / elementBytes));
  }

  private static long size(Path file) {
    try {
      return Files.size(file);
    } catch (IOException e) {
      throw new UncheckedIOException("Cannot map " + file, e);
    }
  }

  private NDArray map(NDManager owner, Path file, int scalarType, long elements) {
    try (NDManager scratch = owner.newSubManager()) {
      return kernel
          .module()
          .runOutsideInferenceMode(
              owner,
              "map_file",
              scratch.create(file.toAbsolutePath().toString()),
              scratch.create(elements),
              scratch.create((long) scalarType));
    } catch (EngineException e) {
      String message = String.valueOf(e.getMessage());
      throw new InvalidInputException(
          String.format(
              "The system refuses to map %s, %d bytes (%s). A file that is larger than memory and swap"
                  + " needs 'vm.overcommit_memory=1' on Linux; sharded files do not",
              file,
              size(file),
              message.lines().filter(line -> line.contains("mmap")).findFirst().orElse(message)),
          e);
    }
  }

  @Override
  public void close() {
    shared.clear();
    mappings.close();
  }

  private record Mapping(Path file, int scalarType) {}
}
