package io.winnow.pruning.internal.stream;

import com.google.common.io.MoreFiles;
import com.google.common.io.RecursiveDeleteOption;
import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.file.FileKind;
import io.winnow.core.internal.file.JsonFiles;
import io.winnow.pruning.internal.file.JsonFields;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.channels.ClosedByInterruptException;
import java.nio.channels.FileChannel;
import java.nio.channels.OverlappingFileLockException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CancellationException;
import java.util.function.Consumer;

/**
 * How far a checkpoint has been pruned, in a hidden folder beside its target from which a killed
 * run goes on:
 *
 * <ul>
 *   <li>{@code state.json}: the command, and what was chosen so far; replaced after each layer,
 *       when everything else of the layer is on disk.
 *   <li>{@code hidden-N.f32}: the calibration tokens' hidden states before layer N.
 *   <li>{@code checkpoint}: the pruned checkpoint as far as it is written.
 *   <li>{@code lock}: locked while a process is at work; the system unlocks it for a killed one.
 * </ul>
 */
public final class StreamingState implements AutoCloseable {
  private final Path folder;
  private final JsonObject command;
  private final FileChannel lock;
  private final List<ChosenLayer> layers = new ArrayList<>();
  private int nextLayer;
  private Duration time = Duration.ZERO;

  private StreamingState(Path folder, JsonObject command, FileChannel lock) {
    this.folder = folder;
    this.command = command;
    this.lock = lock;
  }

  /** Returns the folder beside a target. */
  public static Path folderOf(Path target) {
    Path absolute = target.toAbsolutePath().normalize();
    return absolute.resolveSibling("." + absolute.getFileName() + ".partial-prune");
  }

  /** Returns where the checkpoint of a target takes shape. */
  public static Path draftOf(Path target) {
    return folderOf(target).resolve("checkpoint");
  }

  /**
   * Opens the folder, making it if it does not exist.
   *
   * @param command what the run is
   * @param layerCheck throws if what is noted of a layer cannot be read
   * @throws InvalidInputException if the folder is of another command, in use, or damaged
   */
  public static StreamingState open(
      Path target, JsonObject command, Consumer<JsonObject> layerCheck) {
    Path folder = folderOf(target);
    FileChannel lock = null;
    boolean opened = false;
    try {
      Files.createDirectories(folder);
      lock =
          FileChannel.open(
              folder.resolve("lock"), StandardOpenOption.CREATE, StandardOpenOption.WRITE);
      if (!isFree(lock)) {
        throw new InvalidInputException(
            "Another run is writing " + target + " (" + folder + " is locked); wait for it");
      }
      StreamingState state = new StreamingState(folder, command, lock);
      if (Files.exists(state.file())) {
        state.read(layerCheck);
      } else {
        state.write();
      }
      opened = true;
      return state;
    } catch (IOException e) {
      throw failure("Cannot open " + folder, e);
    } finally {
      if (!opened && lock != null) {
        close(lock);
      }
    }
  }

  private static boolean isFree(FileChannel lock) throws IOException {
    try {
      return lock.tryLock() != null;
    } catch (OverlappingFileLockException e) {
      return false; // Held by this process.
    }
  }

  private Path file() {
    return folder.resolve("state.json");
  }

  private void read(Consumer<JsonObject> layerCheck) {
    JsonObject json = FileKind.STREAMING_STATE.read(file());
    try {
      checkCommand(json.getAsJsonObject("command"));
      nextLayer = (int) JsonFields.wholeNumber(json.get("next_layer"), "'next_layer'");
      time = Duration.ofMillis(JsonFields.wholeNumber(json.get("milliseconds"), "'milliseconds'"));
      for (JsonElement layer : json.getAsJsonArray("layers")) {
        layerCheck.accept(layer.getAsJsonObject());
        layers.add(ChosenLayer.of(layer.getAsJsonObject()));
      }
    } catch (JsonParseException
        | ClassCastException
        | NullPointerException
        | IllegalStateException
        | UnsupportedOperationException
        | NumberFormatException e) {
      throw new InvalidInputException(
          file() + " is damaged (" + e.getMessage() + "); remove " + folder + " to start again", e);
    }
  }

  private void checkCommand(JsonObject found) {
    List<String> differences = JsonFiles.differences(found, command);
    if (!differences.isEmpty()) {
      throw new InvalidInputException(
          folder
              + " holds what another command has done so far: "
              + String.join("; ", differences)
              + ". Repeat that command to finish it, or remove the folder");
    }
  }

  /** Returns the first layer that is not complete. */
  public int nextLayer() {
    return nextLayer;
  }

  /** Returns what was chosen in the layers that are. */
  public List<ChosenLayer> layers() {
    return List.copyOf(layers);
  }

  /** Returns the time that all runs took so far. */
  public Duration time() {
    return time;
  }

  /** Returns the file of the hidden states before a layer. */
  Path hiddenFile(int layer) {
    return folder.resolve("hidden-" + layer + ".f32");
  }

  /**
   * Notes that everything before a layer is on disk.
   *
   * @param chosen in the layer before, or nothing
   * @param spent since the last time
   */
  void commit(int next, List<ChosenLayer> chosen, Duration spent) {
    nextLayer = next;
    layers.addAll(chosen);
    time = time.plus(spent);
    try {
      write();
    } catch (IOException e) {
      throw failure("Cannot write " + file(), e);
    }
  }

  private void write() throws IOException {
    JsonObject json = FileKind.STREAMING_STATE.newJson();
    json.add("command", command);
    json.addProperty("next_layer", nextLayer);
    json.addProperty("milliseconds", time.toMillis());
    JsonArray array = new JsonArray();
    layers.forEach(layer -> array.add(layer.json()));
    json.add("layers", array);
    JsonFiles.write(file(), json);
  }

  /** Removes the folder, when the target is there. */
  public void remove() {
    close();
    try {
      MoreFiles.deleteRecursively(folder, RecursiveDeleteOption.ALLOW_INSECURE);
    } catch (IOException e) {
      throw failure("Cannot remove " + folder, e);
    }
  }

  @Override
  public void close() {
    close(lock);
  }

  private static void close(FileChannel channel) {
    try {
      channel.close();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** Returns what to throw where the system fails; a full disk is not the caller's mistake. */
  static RuntimeException failure(String message, IOException e) {
    if (e instanceof ClosedByInterruptException || Thread.currentThread().isInterrupted()) {
      CancellationException cancelled = new CancellationException("Pruning was interrupted");
      cancelled.initCause(e);
      return cancelled;
    }
    return new UncheckedIOException(new IOException(message + ": " + e.getMessage(), e));
  }
}
