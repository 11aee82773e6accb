package io.winnow.core.internal.safetensors;

import com.google.common.collect.ImmutableList;
import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.file.FileErrors;
import io.winnow.core.internal.file.Json;
import io.winnow.core.internal.safetensors.Segment.BufferSegment;
import io.winnow.core.internal.safetensors.Segment.ColumnSegment;
import io.winnow.core.internal.safetensors.Segment.FileSegment;
import io.winnow.core.internal.safetensors.Segment.MaskedSegment;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.LongConsumer;

/**
 * A safetensors file that is to be written: its header, and its tensors in order.
 *
 * @param header the JSON text, padded with blanks so that the data starts at a multiple of eight
 * @param tensors in the order in which they lie in the file
 */
public record SafetensorsLayout(String header, ImmutableList<OutputTensor> tensors) {
  private static final int ALIGNMENT = 8;
  private static final int BUFFER_CHUNK = 8 << 20;

  public static SafetensorsLayout of(List<OutputTensor> tensors, Map<String, String> metadata) {
    ImmutableList<OutputTensor> aligned = align(tensors);
    JsonObject header = new JsonObject();
    if (!metadata.isEmpty()) {
      JsonObject texts = new JsonObject();
      // Sorted, because the order of many maps changes from run to run.
      new TreeMap<>(metadata).forEach(texts::addProperty);
      header.add(SafetensorsFile.METADATA, texts);
    }
    long begin = 0;
    for (OutputTensor tensor : aligned) {
      if (header.has(tensor.name())) {
        throw new InvalidInputException(
            "Two tensors have the name '" + tensor.name() + "'; rename one");
      }
      JsonObject entry = new JsonObject();
      entry.addProperty("dtype", tensor.type().name());
      JsonArray shape = new JsonArray();
      tensor.shape().forEach(shape::add);
      entry.add("shape", shape);
      JsonArray offsets = new JsonArray();
      offsets.add(begin);
      begin = Math.addExact(begin, tensor.length());
      offsets.add(begin);
      entry.add("data_offsets", offsets);
      header.add(tensor.name(), entry);
    }
    String text = Json.compact(header);
    int length = text.getBytes(StandardCharsets.UTF_8).length;
    if (length > Json.MAX_BYTES - ALIGNMENT) {
      throw new InvalidInputException(
          "A file of "
              + tensors.size()
              + " tensors needs a header of "
              + length
              + " bytes, the format allows "
              + Json.MAX_BYTES
              + "; write several files");
    }
    return new SafetensorsLayout(text + " ".repeat(Math.floorMod(-length, ALIGNMENT)), aligned);
  }

  /**
   * Stock loaders view the mapped bytes as an array of the element type, which fails at an odd
   * place. From the widest type to the narrowest, everything is in place.
   */
  private static ImmutableList<OutputTensor> align(List<OutputTensor> tensors) {
    long offset = 0;
    for (OutputTensor tensor : tensors) {
      int bytes = Math.max(1, tensor.type().bits() / Byte.SIZE);
      if (offset % bytes != 0) {
        return tensors.stream()
            .sorted(Comparator.comparingInt((OutputTensor each) -> each.type().bits()).reversed())
            .collect(ImmutableList.toImmutableList());
      }
      offset = Math.addExact(offset, tensor.length());
    }
    return ImmutableList.copyOf(tensors);
  }

  /** The size of the file. */
  public long fileSize() {
    return dataStart() + dataSize();
  }

  /** Where the first tensor lies. */
  public long dataStart() {
    return Long.BYTES + header.getBytes(StandardCharsets.UTF_8).length;
  }

  public long dataSize() {
    return tensors.stream().mapToLong(OutputTensor::length).sum();
  }

  /** Writes a new file and forces it to disk. */
  public void write(Path file, SourceFiles sources, LongConsumer progress) {
    try (FileChannel channel =
        FileChannel.open(file, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE)) {
      writeStart(file, channel, progress);
      for (OutputTensor tensor : tensors) {
        write(file, channel, tensor, sources, progress);
      }
      channel.force(true);
    } catch (IOException e) {
      throw FileErrors.translate("write", file, e);
    }
  }

  /** Writes what precedes the tensors, where the channel stands. */
  public void writeStart(Path file, FileChannel channel, LongConsumer progress) throws IOException {
    byte[] text = header.getBytes(StandardCharsets.UTF_8);
    ByteBuffer start =
        ByteBuffer.allocate(Long.BYTES + text.length)
            .order(ByteOrder.LITTLE_ENDIAN)
            .putLong(text.length)
            .put(text)
            .flip();
    writeFully(file, channel, start, progress);
  }

  /** Writes a tensor's bytes where the channel stands. */
  public static void write(
      Path file,
      FileChannel channel,
      OutputTensor tensor,
      SourceFiles sources,
      LongConsumer progress)
      throws IOException {
    for (Segment segment : tensor.segments()) {
      if (segment instanceof FileSegment part) {
        sources.transfer(part.file(), part.offset(), part.length(), file, channel, progress);
      } else if (segment instanceof BufferSegment part) {
        writeFully(file, channel, part.data(), progress);
      } else if (segment instanceof MaskedSegment part) {
        writeMasked(file, channel, part, sources, progress);
      } else if (segment instanceof ColumnSegment part) {
        writeColumns(file, channel, part, sources, progress);
      } else {
        throw new IllegalStateException(
            "The tensor '" + tensor.name() + "' was written before, but not to " + file);
      }
    }
  }

  private static void writeColumns(
      Path file,
      FileChannel channel,
      ColumnSegment matrix,
      SourceFiles sources,
      LongConsumer progress)
      throws IOException {
    int step = Math.max(1, BUFFER_CHUNK / matrix.rowBytes());
    for (long row = 0; row < matrix.rows(); row += step) {
      FileErrors.throwIfInterrupted("write", file);
      int count = (int) Math.min(step, matrix.rows() - row);
      ByteBuffer part =
          sources.read(
              matrix.file(), matrix.offset() + row * matrix.rowBytes(), count * matrix.rowBytes());
      writeFully(file, channel, matrix.select(part), progress);
    }
  }

  private static void writeMasked(
      Path file,
      FileChannel channel,
      MaskedSegment matrix,
      SourceFiles sources,
      LongConsumer progress)
      throws IOException {
    long rows = matrix.length() / matrix.rowBytes();
    int step = Math.max(1, BUFFER_CHUNK / matrix.rowBytes());
    for (long row = 0; row < rows; row += step) {
      FileErrors.throwIfInterrupted("write", file);
      int count = (int) Math.min(step, rows - row);
      ByteBuffer part =
          sources.read(
              matrix.file(), matrix.offset() + row * matrix.rowBytes(), count * matrix.rowBytes());
      matrix.apply(part, row);
      writeFully(file, channel, part, progress);
    }
  }

  /** In chunks: Java copies a heap buffer to memory of the same size outside the heap. */
  public static void writeFully(
      Path file, FileChannel channel, ByteBuffer data, LongConsumer progress) throws IOException {
    int end = data.limit();
    while (data.position() < end) {
      FileErrors.throwIfInterrupted("write", file);
      data.limit(Math.min(end, data.position() + BUFFER_CHUNK));
      progress.accept(channel.write(data));
    }
  }
}
