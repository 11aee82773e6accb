package io.winnow.core.internal.checkpoint;

import com.google.common.collect.ImmutableList;
import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.file.FileErrors;
import io.winnow.core.internal.file.PartialOutput;
import io.winnow.core.internal.safetensors.OutputTensor;
import io.winnow.core.internal.safetensors.SafetensorsLayout;
import io.winnow.core.internal.safetensors.SourceFiles;
import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CancellationException;
import java.util.function.LongConsumer;
import java.util.function.Predicate;
import org.jspecify.annotations.Nullable;

/**
 * A checkpoint folder whose tensors are written group by group, before all of them are known: each
 * to the place that it has in the finished file. {@link CheckpointWriter.Builder#optDraft} finishes
 * it with the bytes that would be written at once.
 *
 * <p>A tensor's place follows from the sizes of all others, which must be given each time, with
 * stand-ins of the same type and shape for what is not decided yet. Where a name decided later
 * moves it all the same, the finishing writer notices, and copies that file anew.
 *
 * <p>What is in the folder outlives the process; another one repeats the calls with {@link
 * #recall}. Not thread-safe.
 */
public final class CheckpointDraft {
  private final Path folder;
  private final long maxShardBytes;
  private final Map<String, Place> places = new HashMap<>();
  private long placedBytes;

  /** Where a tensor was put. */
  private record Place(String file, long offset, OutputTensor tensor) {}

  /**
   * Begins or continues a draft; nothing is touched yet.
   *
   * @param folder on the disk of the final folder, outside of the source
   */
  public CheckpointDraft(Path folder) {
    this(folder, CheckpointWriter.DEFAULT_MAX_SHARD_BYTES);
  }

  /** Creates a draft whose files hold another number of bytes at most. */
  CheckpointDraft(Path folder, long maxShardBytes) {
    this.folder = folder;
    this.maxShardBytes = maxShardBytes;
  }

  Path folder() {
    return folder;
  }

  long maxShardBytes() {
    return maxShardBytes;
  }

  /** The bytes that need no more space. */
  long placedBytes() {
    return placedBytes;
  }

  /**
   * Writes some tensors, and returns when they are on disk.
   *
   * @param all all tensors of the checkpoint, as far as they are known, in their order
   * @param wanted those to write
   * @throws InvalidInputException if the folder cannot be made, or a file of the source has gone
   * @throws CancellationException if the thread is interrupted; its interrupted status is kept
   * @throws java.io.UncheckedIOException if reading or writing fails, as on a full disk; calling it
   *     again is all it takes
   */
  public void write(Collection<OutputTensor> all, Predicate<OutputTensor> wanted) {
    try {
      Files.createDirectories(folder);
    } catch (IOException e) {
      throw FileErrors.translate("create", folder, e);
    }
    try (SourceFiles sources = new SourceFiles()) {
      shards(all).forEach((name, layout) -> write(name, layout, wanted, sources, bytes -> {}));
    }
    PartialOutput.force(folder);
    recall(all, wanted);
  }

  private void write(
      String name,
      SafetensorsLayout layout,
      Predicate<OutputTensor> wanted,
      SourceFiles sources,
      LongConsumer progress) {
    Path file = folder.resolve(name);
    if (layout.tensors().stream().noneMatch(wanted)) {
      return;
    }
    try (FileChannel channel = open(file)) {
      long offset = layout.dataStart();
      for (OutputTensor tensor : layout.tensors()) {
        if (wanted.test(tensor)) {
          channel.position(offset);
          SafetensorsLayout.write(file, channel, tensor, sources, progress);
        }
        offset += tensor.length();
      }
      channel.force(true);
    } catch (IOException e) {
      throw FileErrors.translate("write", file, e);
    }
  }

  private static FileChannel open(Path file) throws IOException {
    return FileChannel.open(file, StandardOpenOption.CREATE, StandardOpenOption.WRITE);
  }

  private Map<String, SafetensorsLayout> shards(Collection<OutputTensor> all) {
    return CheckpointWriter.shards(ImmutableList.copyOf(all), maxShardBytes);
  }

  /** Notes tensors that an earlier process wrote; otherwise like {@link #write}. */
  public void recall(Collection<OutputTensor> all, Predicate<OutputTensor> wanted) {
    shards(all)
        .forEach(
            (name, layout) -> {
              long offset = layout.dataStart();
              for (OutputTensor tensor : layout.tensors()) {
                if (wanted.test(tensor)
                    && places.put(tensor.name(), new Place(name, offset, tensor)) == null) {
                  placedBytes += tensor.length();
                }
                offset += tensor.length();
              }
            });
  }

  /** Removes what the finished folder may not hold, and what is cheaply written again. */
  void removeAllBut(Map<String, SafetensorsLayout> shards) {
    try {
      Files.createDirectories(folder);
      try (DirectoryStream<Path> entries = Files.newDirectoryStream(folder)) {
        for (Path entry : entries) {
          if (!shards.containsKey(String.valueOf(entry.getFileName()))) {
            PartialOutput.delete(entry);
          }
        }
      }
    } catch (IOException e) {
      throw FileErrors.translate("delete", folder, e);
    }
  }

  /** Finishes a file: what it lacks, and its header. */
  void complete(String name, SafetensorsLayout layout, SourceFiles sources, LongConsumer progress) {
    Path file = folder.resolve(name);
    if (!isInPlace(name, layout)) {
      try {
        Files.deleteIfExists(file);
      } catch (IOException e) {
        throw FileErrors.translate("delete", file, e);
      }
      layout.write(file, sources, progress);
      return;
    }
    write(name, layout, tensor -> !places.containsKey(tensor.name()), sources, progress);
    try (FileChannel channel = open(file)) {
      layout.writeStart(file, channel, progress);
      channel.truncate(layout.fileSize());
      channel.force(true);
    } catch (IOException e) {
      throw FileErrors.translate("write", file, e);
    }
  }

  /** Whether all that was put into a file, and all that it is to hold, is where it belongs. */
  private boolean isInPlace(String name, SafetensorsLayout layout) {
    Set<Place> expected = new HashSet<>();
    long offset = layout.dataStart();
    for (OutputTensor tensor : layout.tensors()) {
      @Nullable Place place = places.get(tensor.name());
      Place here = new Place(name, offset, tensor);
      if (place != null && !place.equals(here)) {
        return false;
      }
      expected.add(here);
      offset += tensor.length();
    }
    return places.values().stream()
        .filter(place -> place.file().equals(name))
        .allMatch(expected::contains);
  }
}
