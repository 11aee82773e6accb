package io.winnow.core.internal.checkpoint;

import ai.djl.util.Progress;
import com.google.common.collect.ImmutableList;
import com.google.common.collect.ImmutableMap;
import com.google.gson.JsonObject;
import com.google.gson.JsonPrimitive;
import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.file.FileErrors;
import io.winnow.core.internal.file.Json;
import io.winnow.core.internal.file.PartialOutput;
import io.winnow.core.internal.safetensors.OutputTensor;
import io.winnow.core.internal.safetensors.SafetensorsLayout;
import io.winnow.core.internal.safetensors.SourceFiles;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.CancellationException;
import java.util.function.LongConsumer;
import org.jspecify.annotations.Nullable;

/**
 * Writes a complete checkpoint folder: new weights and {@code config.json}, and everything else as
 * it is in the source.
 *
 * <p>The folder is written beside its target under a temporary name, forced to disk, opened as a
 * check, and then renamed: the target is complete or does not exist. Whatever is thrown, and when
 * the thread is interrupted, nothing is left behind.
 *
 * <p>Carried along are the contents of all files of the source, also in subfolders, except those
 * that hold weights in any format ({@code *.safetensors}, {@code *.bin}, {@code *.gguf}, {@code
 * *.pt}, {@code *.pth}, {@code *.h5}, {@code *.msgpack}, {@code *.onnx}, and their indexes), which
 * would contradict the new ones, and except {@code .git} and {@code .cache}. Linked folders are not
 * followed.
 *
 * <p>The same input gives the same bytes.
 */
public final class CheckpointWriter {
  static final long DEFAULT_MAX_SHARD_BYTES = 5_000_000_000L;

  private static final ImmutableMap<String, String> METADATA = ImmutableMap.of("format", "pt");

  private final Checkpoint source;
  private final Path target;
  private final ImmutableMap<String, byte[]> texts;
  private final ImmutableMap<String, SafetensorsLayout> shards;
  private final ImmutableList<CarriedFile> carriedFiles;
  private final @Nullable CheckpointDraft draft;
  private final @Nullable Progress progress;

  private CheckpointWriter(Builder builder) {
    source = builder.source;
    target = required(builder.target, "setTarget").normalize();
    progress = builder.progress;
    draft = builder.draft;
    Path parent = PartialOutput.checkedParent(target);
    requireOutsideSource(parent);

    Map<String, byte[]> files = new TreeMap<>(builder.files);
    files.put(Checkpoint.CONFIG, utf8(Json.pretty(required(builder.config, "setConfig"))));
    shards = shards(required(builder.tensors, "setTensors"), builder.maxShardBytes);
    if (shards.size() > 1) {
      files.put(WeightFiles.INDEX, utf8(Json.pretty(index(shards))));
    }
    texts = ImmutableMap.copyOf(files);
    carriedFiles = CarriedFile.find(source.folder(), texts::containsKey);
    requireSpace(parent, builder.usableSpace);
  }

  /** Starts to describe a folder that carries along what the source has beside its weights. */
  public static Builder builder(Checkpoint source) {
    return new Builder(source);
  }

  /** What to write. Not thread-safe. */
  public static final class Builder {
    private final Checkpoint source;
    private @Nullable Path target;
    private @Nullable JsonObject config;
    private @Nullable List<OutputTensor> tensors;
    private long maxShardBytes = DEFAULT_MAX_SHARD_BYTES;
    private final Map<String, byte[]> files = new TreeMap<>();
    private @Nullable CheckpointDraft draft;
    private @Nullable Progress progress;
    private SpaceProbe usableSpace = folder -> Files.getFileStore(folder).getUsableSpace();

    private Builder(Checkpoint source) {
      this.source = source;
    }

    /** Sets the folder to create, in an existing folder, outside of the source. */
    public Builder setTarget(Path target) {
      this.target = target;
      return this;
    }

    /** Sets the content of {@code config.json}. */
    public Builder setConfig(JsonObject config) {
      this.config = config.deepCopy();
      return this;
    }

    /** Sets the tensors, in the order in which they are to lie in the files. */
    public Builder setTensors(List<OutputTensor> tensors) {
      this.tensors = List.copyOf(tensors);
      return this;
    }

    /**
     * Sets how many bytes of tensors a file holds at most, 5,000,000,000 by default. A larger
     * tensor gets a file of its own.
     *
     * @throws InvalidInputException if it is less than one
     */
    public Builder optMaxShardBytes(long maxShardBytes) {
      if (maxShardBytes < 1) {
        throw new InvalidInputException(
            "A file cannot be limited to " + maxShardBytes + " bytes; give at least 1");
      }
      this.maxShardBytes = maxShardBytes;
      return this;
    }

    /**
     * Adds a text file, such as a report. It takes the place of a file of this name in the source.
     *
     * @throws InvalidInputException if the name is no plain file name, or that of a file which the
     *     writer itself makes
     */
    public Builder optFile(String name, String text) {
      if (!WeightFiles.isPlainName(name)
          || name.equals(Checkpoint.CONFIG)
          || WeightFiles.holdsWeights(name)) {
        throw new InvalidInputException(
            "A file '" + name + "' cannot be added to a checkpoint; choose another name");
      }
      files.put(name, utf8(text));
      return this;
    }

    /**
     * Sets a folder to finish and rename, in which tensors have been put already. What it holds
     * stays where writing fails.
     */
    public Builder optDraft(CheckpointDraft draft) {
      this.draft = draft;
      maxShardBytes = draft.maxShardBytes();
      return this;
    }

    /** Sets who is told about the progress, in bytes. */
    public Builder optProgress(Progress progress) {
      this.progress = progress;
      return this;
    }

    /** Replaces the question for the free space, which a test cannot exhaust. */
    Builder usableSpace(SpaceProbe usableSpace) {
      this.usableSpace = usableSpace;
      return this;
    }

    /**
     * Checks everything that {@link #write} checks first, and writes nothing.
     *
     * @return the bytes of the folder
     */
    public long check() {
      return new CheckpointWriter(this).neededBytes();
    }

    /**
     * Writes the folder.
     *
     * @return the new folder, opened
     * @throws InvalidInputException if a required value has not been set, if the target exists, if
     *     its parent does not exist, cannot be written or has too little space, if it lies inside
     *     the source, if two tensors have the same name, or if a file of the source has gone
     * @throws CancellationException if the thread is interrupted; its interrupted status is kept
     * @throws UncheckedIOException if reading or writing fails
     */
    public Checkpoint write() {
      return new CheckpointWriter(this).run();
    }
  }

  private Checkpoint run() {
    Progress listener = progress;
    LongConsumer count = listener == null ? bytes -> {} : listener::increment;
    if (listener != null) {
      listener.reset("Writing " + target, neededBytes());
      listener.start(0);
    }
    CheckpointDraft begun = draft;
    try (PartialOutput output =
            begun == null
                ? PartialOutput.forFolder(target)
                : PartialOutput.ofDraft(target, begun.folder());
        SourceFiles sources = new SourceFiles()) {
      Path folder = output.path();
      if (begun != null) {
        begun.removeAllBut(shards);
      }
      for (CarriedFile file : carriedFiles) {
        file.copyInto(folder, sources, count);
      }
      texts.forEach((name, text) -> write(folder.resolve(name), text, count));
      shards.forEach(
          (name, layout) -> {
            if (begun == null) {
              layout.write(folder.resolve(name), sources, count);
            } else {
              begun.complete(name, layout, sources, count);
            }
          });
      Checkpoint written = Checkpoint.open(folder);
      FileErrors.throwIfInterrupted("write", target);
      output.complete();
      // Not opened again: an interrupt must not fail what is complete.
      return written.movedTo(target);
    } finally {
      if (listener != null) {
        listener.end();
      }
    }
  }

  private static void write(Path file, byte[] text, LongConsumer progress) {
    try (FileChannel channel =
        FileChannel.open(file, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE)) {
      SafetensorsLayout.writeFully(file, channel, ByteBuffer.wrap(text), progress);
      channel.force(true);
    } catch (IOException e) {
      throw FileErrors.translate("write", file, e);
    }
  }

  /** Fills one file after the other, in the given order, as Transformers does. */
  static ImmutableMap<String, SafetensorsLayout> shards(
      List<OutputTensor> tensors, long maxShardBytes) {
    if (tensors.isEmpty()) {
      throw new InvalidInputException("A checkpoint without tensors cannot be written; give some");
    }
    Set<String> names = new HashSet<>();
    List<List<OutputTensor>> groups = new ArrayList<>();
    List<OutputTensor> group = new ArrayList<>();
    long groupBytes = 0;
    for (OutputTensor tensor : tensors) {
      if (!names.add(tensor.name())) {
        throw new InvalidInputException(
            "Two tensors have the name '" + tensor.name() + "'; rename one");
      }
      if (!group.isEmpty() && tensor.length() > maxShardBytes - groupBytes) {
        groups.add(group);
        group = new ArrayList<>();
        groupBytes = 0;
      }
      group.add(tensor);
      groupBytes += tensor.length();
    }
    groups.add(group);
    ImmutableMap.Builder<String, SafetensorsLayout> result = ImmutableMap.builder();
    for (int i = 0; i < groups.size(); i++) {
      String name =
          groups.size() == 1
              ? WeightFiles.SINGLE
              : String.format(Locale.ROOT, "model-%05d-of-%05d.safetensors", i + 1, groups.size());
      result.put(name, SafetensorsLayout.of(groups.get(i), METADATA));
    }
    return result.buildOrThrow();
  }

  private static JsonObject index(Map<String, SafetensorsLayout> shards) {
    Map<String, String> fileByTensor = new TreeMap<>();
    long size = 0;
    for (Map.Entry<String, SafetensorsLayout> shard : shards.entrySet()) {
      size += shard.getValue().dataSize();
      for (OutputTensor tensor : shard.getValue().tensors()) {
        fileByTensor.put(tensor.name(), shard.getKey());
      }
    }
    JsonObject metadata = new JsonObject();
    metadata.addProperty("total_size", size);
    JsonObject weightMap = new JsonObject();
    fileByTensor.forEach((tensor, file) -> weightMap.add(tensor, new JsonPrimitive(file)));
    JsonObject index = new JsonObject();
    index.add("metadata", metadata);
    index.add("weight_map", weightMap);
    return index;
  }

  private void requireOutsideSource(Path parent) {
    try {
      Path sourceFolder = source.folder().toRealPath();
      if (parent.toRealPath().startsWith(sourceFolder)) {
        throw new InvalidInputException(
            target
                + " lies inside the source "
                + sourceFolder
                + "; choose another target (--out) outside of it");
      }
    } catch (IOException e) {
      throw FileErrors.translate("read", source.folder(), e);
    }
  }

  private void requireSpace(Path parent, SpaceProbe usableSpace) {
    long needed = neededBytes() - (draft == null ? 0 : draft.placedBytes());
    long usable;
    try {
      usable = usableSpace.usableBytes(parent);
    } catch (IOException e) {
      throw FileErrors.translate("ask for the free space of", parent, e);
    }
    if (needed > usable) {
      throw new InvalidInputException(
          target
              + " needs "
              + needed
              + " bytes, but only "
              + usable
              + " are free in "
              + parent
              + "; free some space or choose another target (--out)");
    }
  }

  private long neededBytes() {
    return shards.values().stream().mapToLong(SafetensorsLayout::fileSize).sum()
        + texts.values().stream().mapToLong(text -> text.length).sum()
        + carriedFiles.stream().mapToLong(CarriedFile::length).sum();
  }

  private static byte[] utf8(String text) {
    return text.getBytes(StandardCharsets.UTF_8);
  }

  private static <T> T required(@Nullable T value, String setter) {
    if (value == null) {
      throw new InvalidInputException("The checkpoint cannot be written yet: call " + setter);
    }
    return value;
  }

  /** How much space a folder's disk has left. */
  interface SpaceProbe {
    long usableBytes(Path folder) throws IOException;
  }
}
