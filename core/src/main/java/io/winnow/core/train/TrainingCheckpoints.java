package io.winnow.core.train;

import com.google.gson.JsonObject;
import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.file.FileKind;
import io.winnow.core.internal.file.JsonFiles;
import io.winnow.core.internal.safetensors.OutputTensor;
import io.winnow.core.internal.safetensors.SafetensorsFile;
import java.io.IOException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.TreeMap;
import java.util.function.Supplier;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * A folder that a training goes on from, whenever it was stopped or killed.
 *
 * <ul>
 *   <li>{@code training.json} says which training it is, behind its {@link FileKind}.
 *   <li>{@code state-N.safetensors} is all that decides what follows step N.
 *   <li>{@code best-N.safetensors} are the best weights so far, those after step N; a state names
 *       them, and they are there before it. At step 0 they are the model's own, and not written.
 * </ul>
 *
 * <p>Each file appears complete, and older ones are removed when nothing needs them any more. For
 * one training at a time.
 */
final class TrainingCheckpoints {
  private static final String IDENTITY = "training.json";
  private static final String PROGRESS = "progress";
  private static final Pattern STATE = Pattern.compile("state-(\\d+)\\.safetensors");
  private static final Pattern BEST = Pattern.compile("best-(\\d+)\\.safetensors");

  /** What a process that was killed had half written. */
  private static final Pattern PARTIAL =
      Pattern.compile("\\.(training\\.json|(state|best)-\\d+\\.safetensors)\\.partial-.*");

  private final Path folder;

  private TrainingCheckpoints(Path folder) {
    this.folder = folder;
  }

  /**
   * Opens a folder, making it if it does not exist.
   *
   * @param identity what the training is
   * @throws InvalidInputException if the folder is of another training, or cannot be written
   */
  static TrainingCheckpoints open(Path folder, JsonObject identity) {
    TrainingCheckpoints checkpoints = new TrainingCheckpoints(folder);
    Path file = folder.resolve(IDENTITY);
    try {
      Files.createDirectories(folder);
      if (Files.exists(file)) {
        JsonObject found = FileKind.TRAINING.read(file);
        found.remove(FileKind.FIELD); // Which version 0.1.0 did not write.
        List<String> differences = JsonFiles.differences(found, identity);
        if (!differences.isEmpty()) {
          throw new InvalidInputException(
              "The checkpoints "
                  + folder
                  + " are of another training: "
                  + String.join("; ", differences)
                  + ". Choose another folder, or repeat that training");
        }
      } else if (checkpoints.find(STATE).isEmpty()) {
        JsonObject described = FileKind.TRAINING.newJson();
        identity.asMap().forEach(described::add);
        JsonFiles.write(file, described);
      } else {
        throw new InvalidInputException(
            "The checkpoints " + folder + " have no " + IDENTITY + "; choose another folder");
      }
      checkpoints.delete(PARTIAL, null);
    } catch (IOException e) {
      throw new InvalidInputException(
          "Cannot write checkpoints to " + folder + " (" + e + "); choose another folder", e);
    }
    return checkpoints;
  }

  /** Returns the latest state, or null if there is none yet. */
  @Nullable SafetensorsFile latest() {
    try {
      Map.Entry<Integer, Path> last = find(STATE).lastEntry();
      return last == null ? null : SafetensorsFile.open(last.getValue());
    } catch (IOException e) {
      throw new InvalidInputException("Cannot read the checkpoints " + folder + ": " + e, e);
    }
  }

  /** Returns the weights that a state names as the best. */
  SafetensorsFile best(int step) {
    return SafetensorsFile.open(file("best", step));
  }

  /** Returns what a state says beside its tensors. */
  static String progress(SafetensorsFile state) {
    return Objects.requireNonNullElse(state.metadata().get(PROGRESS), "");
  }

  /**
   * Writes a state, unless it is there already.
   *
   * @param bestStep the step of the best weights
   * @param best the best weights, asked for unless they are there already or of step 0
   */
  void save(
      int step,
      List<OutputTensor> state,
      String progress,
      int bestStep,
      Supplier<List<OutputTensor>> best) {
    if (Files.exists(file("state", step))) {
      return;
    }
    if (bestStep > 0 && !Files.exists(file("best", bestStep))) {
      SafetensorsFile.write(file("best", bestStep), best.get(), Map.of());
    }
    SafetensorsFile.write(file("state", step), state, Map.of(PROGRESS, progress));
    try {
      delete(STATE, step);
      delete(BEST, bestStep);
    } catch (IOException e) {
      throw new InvalidInputException("Cannot remove old checkpoints of " + folder + ": " + e, e);
    }
  }

  private Path file(String what, int step) {
    return folder.resolve(what + "-" + step + ".safetensors");
  }

  private TreeMap<Integer, Path> find(Pattern pattern) throws IOException {
    TreeMap<Integer, Path> found = new TreeMap<>();
    try (DirectoryStream<Path> files = Files.newDirectoryStream(folder)) {
      for (Path file : files) {
        Matcher matcher = pattern.matcher(String.valueOf(file.getFileName()));
        if (matcher.matches()) {
          found.put(Integer.valueOf(matcher.group(1)), file);
        }
      }
    }
    return found;
  }

  /** Deletes files that match, but for those of one step. */
  private void delete(Pattern pattern, @Nullable Integer kept) throws IOException {
    try (DirectoryStream<Path> files = Files.newDirectoryStream(folder)) {
      for (Path file : files) {
        Matcher matcher = pattern.matcher(String.valueOf(file.getFileName()));
        if (matcher.matches() && (kept == null || !matcher.group(1).equals(kept.toString()))) {
          Files.delete(file);
        }
      }
    }
  }
}
