package io.winnow.core.internal.checkpoint;

import com.google.common.base.Suppliers;
import com.google.common.collect.ImmutableList;
import com.google.common.collect.ImmutableMap;
import com.google.common.hash.Hasher;
import com.google.common.hash.Hashing;
import com.google.common.primitives.Longs;
import com.google.gson.JsonObject;
import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.file.FileErrors;
import io.winnow.core.internal.file.Json;
import io.winnow.core.internal.file.TokenizerFiles;
import io.winnow.core.internal.safetensors.SourceFiles;
import io.winnow.core.internal.safetensors.TensorInfo;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.Supplier;
import java.util.stream.Collectors;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * A Hugging Face checkpoint folder of which {@code config.json} and all headers have been read and
 * checked. The weights stay in their files until they are asked for; no file is held open.
 *
 * <p>As in Transformers, {@code model.safetensors} is taken if it is there, and else all tensors of
 * the files that {@code model.safetensors.index.json} names. Where the index says otherwise than
 * the files, or is not read, a warning is logged.
 *
 * <p>Immutable, hence safe for use by several threads. The folder must not change while it is used.
 */
public final class Checkpoint {
  private static final Logger LOGGER = LoggerFactory.getLogger(Checkpoint.class);

  static final String CONFIG = "config.json";
  private static final int DIGEST_BYTES = 4096;
  private static final int READ_AHEAD_BYTES = 1 << 20;

  private final Path folder;
  private final CheckpointConfig config;
  private final ImmutableList<Path> files;
  private final ImmutableMap<String, TensorInfo> tensors;
  private final Supplier<String> digest = Suppliers.memoize(this::computeDigest);

  private Checkpoint(
      Path folder,
      CheckpointConfig config,
      ImmutableList<Path> files,
      ImmutableMap<String, TensorInfo> tensors) {
    this.folder = folder;
    this.config = config;
    this.files = files;
    this.tensors = tensors;
  }

  /**
   * Opens a folder: reads its {@code config.json} and the headers of its safetensors files.
   *
   * @throws InvalidInputException if there is no such folder, if it has no {@code config.json} or
   *     no safetensors files, if it has an adapter beside them, or if any of them is damaged,
   *     incomplete or contradictory
   * @throws UncheckedIOException if a file cannot be read
   */
  public static Checkpoint open(Path folder) {
    if (!Files.exists(folder)) {
      throw new InvalidInputException(
          folder
              + " does not exist; give the folder of a Hugging Face checkpoint (config.json and"
              + " *.safetensors)");
    }
    if (!Files.isDirectory(folder)) {
      throw new InvalidInputException(
          folder
              + " is not a folder; give the folder of a Hugging Face checkpoint (config.json and"
              + " *.safetensors)");
    }
    Adapters.requireNone(folder);
    Path configFile = folder.resolve(CONFIG);
    FileErrors.requireNoDanglingLink(configFile);
    if (!Files.isRegularFile(configFile)) {
      throw new InvalidInputException(
          folder + " has no config.json; download the whole checkpoint folder");
    }
    CheckpointConfig config = CheckpointConfig.read(configFile);
    WeightFiles weights = WeightFiles.find(folder);
    weights.warnings().forEach(LOGGER::warn);
    return new Checkpoint(folder, config, weights.files(), weights.tensors());
  }

  /** The same checkpoint after its folder was renamed. */
  Checkpoint movedTo(Path newFolder) {
    ImmutableMap.Builder<String, TensorInfo> moved = ImmutableMap.builder();
    tensors.forEach(
        (name, info) ->
            moved.put(
                name,
                new TensorInfo(
                    name,
                    info.type(),
                    info.shape(),
                    newFolder.resolve(folder.relativize(info.file())),
                    info.offset(),
                    info.length())));
    return new Checkpoint(
        newFolder,
        config.movedTo(newFolder.resolve(CONFIG)),
        files.stream()
            .map(file -> newFolder.resolve(folder.relativize(file)))
            .collect(ImmutableList.toImmutableList()),
        moved.buildOrThrow());
  }

  /** The folder, as given. */
  public Path folder() {
    return folder;
  }

  /** The content of {@code config.json}. */
  public CheckpointConfig config() {
    return config;
  }

  /** All tensors by name: file by file in the order of their names, by offset within a file. */
  public Map<String, TensorInfo> tensors() {
    return tensors;
  }

  /**
   * The tensor of this name.
   *
   * @throws InvalidInputException if there is none
   */
  public TensorInfo tensor(String name) {
    TensorInfo info = tensors.get(name);
    if (info == null) {
      throw new InvalidInputException(
          "The checkpoint "
              + folder
              + " has no tensor '"
              + name
              + "' among its "
              + tensors.size()
              + "; check that config.json's model_type fits the weights, or download it again");
    }
    return info;
  }

  /**
   * The tensor of this name, which must have this shape.
   *
   * @throws InvalidInputException if there is none, or if its shape is another
   */
  public TensorInfo tensor(String name, long... shape) {
    TensorInfo info = tensor(name);
    if (!info.shape().equals(Longs.asList(shape))) {
      throw new InvalidInputException(
          "The tensor '"
              + name
              + "' of "
              + info.file()
              + " has the shape "
              + info.shape()
              + ", expected "
              + Arrays.toString(shape)
              + " by config.json; check that both come from the same checkpoint");
    }
    return info;
  }

  /** Whether there is a tensor of this name. */
  public boolean has(String name) {
    return tensors.containsKey(name);
  }

  /**
   * Whether two tensors are the same, byte for byte. Both are read as far as they are.
   *
   * @throws UncheckedIOException if a file cannot be read
   */
  public static boolean areEqual(TensorInfo a, TensorInfo b) {
    if (a.type() != b.type() || !a.shape().equals(b.shape())) {
      return false;
    }
    try (SourceFiles sources = new SourceFiles()) {
      for (long at = 0; at < a.length(); at += READ_AHEAD_BYTES) {
        int length = (int) Math.min(READ_AHEAD_BYTES, a.length() - at);
        if (!sources
            .read(a.file(), a.offset() + at, length)
            .equals(sources.read(b.file(), b.offset() + at, length))) {
          return false;
        }
      }
    }
    return true;
  }

  /** The safetensors files, in the order of their names. */
  public List<Path> files() {
    return files;
  }

  /** The number of bytes of all tensors. */
  public long bytes() {
    return tensors.values().stream().mapToLong(TensorInfo::length).sum();
  }

  /**
   * Tells checkpoints apart: {@code "sha256:"} and 64 hexadecimal digits. It does not depend on how
   * the tensors are spread over files, and does not read them whole, which would take minutes for a
   * large model: a change in the middle of a tensor goes unnoticed. It is computed on first use.
   *
   * <p>It is the SHA-256 of the following items, each preceded by its number of bytes as eight
   * bytes, highest first; texts are in UTF-8:
   *
   * <ol>
   *   <li>the content of {@code config.json} without its member {@code winnow}, as JSON without
   *       blanks, the names of each object in the order of {@link String#compareTo}, numbers as
   *       they stand in the file;
   *   <li>for every tensor, in the order of the names by {@link String#compareTo}: its name; its
   *       type; its shape, such as {@code [256, 128]}; its first 4096 bytes and its last 4096 bytes
   *       (of a smaller tensor, all bytes both times).
   * </ol>
   *
   * @throws UncheckedIOException if a file cannot be read
   */
  public String digest() {
    return digest.get();
  }

  private String computeDigest() {
    JsonObject content = config.json();
    content.remove("winnow");
    Hasher hasher = Hashing.sha256().newHasher();
    put(hasher, Json.compact(Json.sorted(content)));
    try (SourceFiles sources = new SourceFiles()) {
      for (TensorInfo info : new TreeMap<>(tensors).values()) {
        put(hasher, info.name());
        put(hasher, info.type().name());
        put(hasher, info.shape().toString());
        int length = (int) Math.min(DIGEST_BYTES, info.length());
        put(hasher, sources.read(info.file(), info.offset(), length).array());
        put(
            hasher,
            sources.read(info.file(), info.offset() + info.length() - length, length).array());
      }
    }
    return "sha256:" + hasher.hash();
  }

  /**
   * Reads tensors and forgets them, so that mapping them soon after waits for no disk. An interrupt
   * ends it with a {@link java.util.concurrent.CancellationException}.
   *
   * @throws UncheckedIOException if a file cannot be read
   */
  public static void readAhead(Collection<TensorInfo> tensors) {
    ByteBuffer buffer = ByteBuffer.allocateDirect(READ_AHEAD_BYTES);
    try (SourceFiles sources = new SourceFiles()) {
      tensors.forEach(info -> sources.touch(info.file(), info.offset(), info.length(), buffer));
    }
  }

  /** Whether there is a {@code tokenizer.json}. */
  public boolean hasTokenizer() {
    return Files.isRegularFile(folder.resolve(TokenizerFiles.NAME));
  }

  /**
   * The path of {@code tokenizer.json}.
   *
   * @throws InvalidInputException if there is none
   */
  public Path tokenizer() {
    if (!hasTokenizer()) {
      throw new InvalidInputException(TokenizerFiles.missing(folder));
    }
    return folder.resolve(TokenizerFiles.NAME);
  }

  @Override
  public String toString() {
    return folder
        + " ("
        + tensors.size()
        + " tensors, "
        + bytes()
        + " bytes, "
        + files.stream()
            .map(file -> file.getFileName().toString())
            .collect(Collectors.joining(", "))
        + ")";
  }

  private static void put(Hasher hasher, String text) {
    put(hasher, text.getBytes(StandardCharsets.UTF_8));
  }

  private static void put(Hasher hasher, byte[] bytes) {
    hasher.putBytes(Longs.toByteArray(bytes.length)).putBytes(bytes);
  }
}
