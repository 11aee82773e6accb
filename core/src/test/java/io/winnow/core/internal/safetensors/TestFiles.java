package io.winnow.core.internal.safetensors;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;

/** What the tests of this package share. */
public final class TestFiles {
  public static final Path TINY_MIXTRAL = Path.of("..", "examples", "demo", "tiny-mixtral");
  public static final Path RESOURCES = Path.of("src", "test", "resources");

  private TestFiles() {}

  /** A safetensors file with this header and this many bytes of data, valid or not. */
  public static Path safetensors(Path file, String header, int dataBytes) {
    byte[] text = header.getBytes(StandardCharsets.UTF_8);
    byte[] data = new byte[dataBytes];
    for (int i = 0; i < dataBytes; i++) {
      data[i] = (byte) i;
    }
    ByteBuffer content =
        ByteBuffer.allocate(Long.BYTES + text.length + dataBytes)
            .order(ByteOrder.LITTLE_ENDIAN)
            .putLong(text.length)
            .put(text)
            .put(data);
    return write(file, content.array());
  }

  public static Path write(Path file, String text) {
    return write(file, text.getBytes(StandardCharsets.UTF_8));
  }

  public static Path write(Path file, byte[] content) {
    try {
      Files.createDirectories(file.getParent());
      return Files.write(file, content);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  public static byte[] bytes(Path file) {
    try {
      return Files.readAllBytes(file);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  public static String text(Path file) {
    return new String(bytes(file), StandardCharsets.UTF_8);
  }

  public static byte[] bytes(ByteBuffer buffer) {
    byte[] result = new byte[buffer.remaining()];
    buffer.duplicate().get(result);
    return result;
  }

  /** The bytes of a tensor of a checkpoint. */
  public static byte[] bytes(TensorInfo info) {
    return bytes(SafetensorsFile.open(info.file()).read(info.name()));
  }

  /** A tensor of these bytes. */
  static OutputTensor ofBytes(String name, TensorType type, List<Long> shape, int... data) {
    byte[] bytes = new byte[data.length];
    for (int i = 0; i < data.length; i++) {
      bytes[i] = (byte) data[i];
    }
    return new OutputTensor(
        name, type, shape, List.of(new Segment.BufferSegment(ByteBuffer.wrap(bytes))));
  }

  /** The names of everything below a folder, in order. */
  public static List<String> below(Path folder) {
    try (Stream<Path> paths = Files.walk(folder)) {
      return paths
          .filter(path -> !path.equals(folder))
          .map(path -> folder.relativize(path).toString())
          .sorted()
          .toList();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** A small checkpoint of one tensor 'a' of four bytes. */
  public static Path checkpoint(Path folder) {
    write(folder.resolve("config.json"), "{\"model_type\": \"mixtral\"}");
    safetensors(
        folder.resolve("model.safetensors"),
        "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}",
        4);
    return folder;
  }
}
