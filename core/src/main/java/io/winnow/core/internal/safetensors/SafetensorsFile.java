package io.winnow.core.internal.safetensors;

import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.file.FileErrors;
import io.winnow.core.internal.file.PartialOutput;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.CancellationException;
import java.util.function.Function;
import java.util.stream.Collectors;

/**
 * A safetensors file of which the header has been read and checked. The data stays in the file
 * until it is asked for; no file is held open.
 *
 * <p>Immutable, hence safe for use by several threads. A file must not change while it is used.
 */
public final class SafetensorsFile {
  static final String METADATA = "__metadata__";

  private final Path path;
  private final SafetensorsHeader header;

  private SafetensorsFile(Path path, SafetensorsHeader header) {
    this.path = path;
    this.header = header;
  }

  /**
   * Reads and checks the header; the data is not touched.
   *
   * @throws InvalidInputException if there is no such file, if it is truncated, or if its header is
   *     not exactly what the format demands; the message names file, tensor and value
   * @throws UncheckedIOException if the file cannot be read
   */
  public static SafetensorsFile open(Path file) {
    if (!Files.exists(file)) {
      throw new InvalidInputException(file + " does not exist; give an existing safetensors file");
    }
    if (!Files.isRegularFile(file)) {
      throw new InvalidInputException(file + " is not a file; give a safetensors file");
    }
    try (FileChannel channel = FileChannel.open(file, StandardOpenOption.READ)) {
      return new SafetensorsFile(file, SafetensorsHeader.read(file, channel));
    } catch (IOException e) {
      throw FileErrors.translate("read", file, e);
    }
  }

  /**
   * Whether a file is named as one, or begins like one: with a header's length and its bracket. No
   * file that cannot be read does.
   */
  public static boolean isSafetensors(Path file) {
    if (String.valueOf(file.getFileName()).toLowerCase(Locale.ROOT).endsWith(".safetensors")) {
      return true;
    }
    if (!Files.isRegularFile(file)) {
      return false;
    }
    try (FileChannel channel = FileChannel.open(file, StandardOpenOption.READ)) {
      long size = channel.size();
      if (size < Long.BYTES + 2) {
        return false;
      }
      ByteBuffer start = SafetensorsHeader.readAt(channel, 0, Long.BYTES + 1);
      long length = start.order(ByteOrder.LITTLE_ENDIAN).getLong(0);
      return length >= 2 && length <= size - Long.BYTES && start.get(Long.BYTES) == '{';
    } catch (IOException e) {
      return false;
    }
  }

  /** The tensors by name, in order of offset. */
  public Map<String, TensorInfo> tensors() {
    return header.tensors();
  }

  /** The free texts that the file carries beside its tensors, by name. */
  public Map<String, String> metadata() {
    return header.metadata();
  }

  /**
   * The values of an integer tensor (I64, I32, I16, I8, U32, U16, U8, BOOL).
   *
   * @throws InvalidInputException if there is no such tensor, or if it has another type or more
   *     elements than an array
   * @throws UncheckedIOException if the file cannot be read
   */
  public long[] readLongs(String name) {
    TensorInfo info = tensor(name);
    return switch (info.type()) {
      case I64 -> longs(info, data -> data::getLong);
      case I32 -> longs(info, data -> data::getInt);
      case I16 -> longs(info, data -> data::getShort);
      case I8 -> longs(info, data -> data::get);
      case U32 -> longs(info, data -> index -> Integer.toUnsignedLong(data.getInt(index)));
      case U16 -> longs(info, data -> index -> Short.toUnsignedInt(data.getShort(index)));
      case U8, BOOL -> longs(info, data -> index -> Byte.toUnsignedInt(data.get(index)));
      default -> throw wrongType(info, "whole numbers (I64, I32, I16, I8, U32, U16, U8, BOOL)");
    };
  }

  /**
   * The values of a floating point tensor (F64, F32, F16, BF16), rounded to float if need be.
   *
   * @throws InvalidInputException if there is no such tensor, or if it has another type or more
   *     elements than an array
   * @throws UncheckedIOException if the file cannot be read
   */
  public float[] readFloats(String name) {
    TensorInfo info = tensor(name);
    return switch (info.type()) {
      case F64 -> floats(info, data -> index -> (float) data.getDouble(index));
      case F32 -> floats(info, data -> data::getFloat);
      case F16 -> floats(info, data -> index -> HalfFloat.toFloat(data.getShort(index)));
      case BF16 -> floats(info, data -> index -> Float.intBitsToFloat(data.getShort(index) << 16));
      default -> throw wrongType(info, "floating point numbers (F64, F32, F16, BF16)");
    };
  }

  /**
   * The bytes of a tensor of any type: a read-only, little-endian view of the mapped file, so that
   * only what is looked at is read.
   *
   * @throws InvalidInputException if there is no such tensor, or if it has 2 GiB or more
   * @throws UncheckedIOException if the file cannot be mapped
   */
  public ByteBuffer read(String name) {
    TensorInfo info = tensor(name);
    if (info.length() > Integer.MAX_VALUE) {
      throw new InvalidInputException(
          "The tensor '"
              + name
              + "' of "
              + path
              + " has "
              + info.length()
              + " bytes, a buffer holds at most "
              + Integer.MAX_VALUE
              + "; copy it from file to file with OutputTensor.copyOf or rows");
    }
    try (FileChannel channel = FileChannel.open(path, StandardOpenOption.READ)) {
      return channel
          .map(FileChannel.MapMode.READ_ONLY, info.offset(), info.length())
          .order(ByteOrder.LITTLE_ENDIAN);
    } catch (IOException e) {
      throw FileErrors.translate("read", path, e);
    }
  }

  /**
   * Writes a new file: to a temporary sibling, which is forced to disk and takes the final name
   * when it is complete. The tensors lie in the given order, unless one would not lie at a multiple
   * of its element's size, as stock loaders demand: then the types come from the widest to the
   * narrowest. The same input gives the same bytes.
   *
   * @param target the new file, in an existing folder
   * @param tensors what it holds
   * @param metadata free texts it carries
   * @throws InvalidInputException if the target exists, if its folder does not exist or cannot be
   *     written, or if two tensors have the same name
   * @throws CancellationException if the thread is interrupted; its interrupted status is kept
   * @throws UncheckedIOException if reading or writing fails. Whatever is thrown, nothing is left
   *     behind
   */
  public static void write(Path target, List<OutputTensor> tensors, Map<String, String> metadata) {
    SafetensorsLayout layout = SafetensorsLayout.of(tensors, metadata);
    try (PartialOutput output = PartialOutput.forFile(target);
        SourceFiles sources = new SourceFiles()) {
      layout.write(output.path(), sources, copied -> {});
      output.complete();
    }
  }

  private TensorInfo tensor(String name) {
    TensorInfo info = header.tensors().get(name);
    if (info == null) {
      throw new InvalidInputException(
          path
              + " has no tensor '"
              + name
              + "'; it has "
              + header.tensors().size()
              + ": "
              + header.tensors().keySet().stream().limit(8).collect(Collectors.joining(", "))
              + (header.tensors().size() > 8 ? ", …" : ""));
    }
    return info;
  }

  private InvalidInputException wrongType(TensorInfo info, String expected) {
    return new InvalidInputException(
        "The tensor '"
            + info.name()
            + "' of "
            + path
            + " has the type "
            + info.type()
            + ", expected "
            + expected);
  }

  private long[] longs(TensorInfo info, Function<ByteBuffer, LongAt> reader) {
    LongAt values = reader.apply(read(info.name()));
    int bytes = info.type().bytes();
    long[] result = new long[(int) info.elements()];
    for (int i = 0; i < result.length; i++) {
      result[i] = values.get(i * bytes);
    }
    return result;
  }

  private float[] floats(TensorInfo info, Function<ByteBuffer, FloatAt> reader) {
    FloatAt values = reader.apply(read(info.name()));
    int bytes = info.type().bytes();
    float[] result = new float[(int) info.elements()];
    for (int i = 0; i < result.length; i++) {
      result[i] = values.get(i * bytes);
    }
    return result;
  }

  private interface LongAt {
    long get(int index);
  }

  private interface FloatAt {
    float get(int index);
  }
}
