package io.winnow.core.internal.file;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import io.winnow.core.InvalidInputException;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * What a file of ours is: JSON files begin with {@code "kind"}, and safetensors files carry it in
 * their metadata, so that one that is taken for another says so. Files of version 0.1.0 have no
 * kind, and are read by what they hold.
 */
public enum FileKind {
  /** Which experts stay. */
  PLAN("winnow-pruning-plan", "a pruning plan", "write one with PruningPlan.write"),
  /** What was removed. */
  REPORT("winnow-pruning-report", "a pruning report", "write one with PruningReport.write"),
  /** What a calibration pass saw. */
  STATISTICS(
      "winnow-calibration-statistics",
      "calibration statistics",
      "make some with CalibrationStatistics.write or 'winnow calibrate'"),
  /** How far a checkpoint has been pruned. */
  STREAMING_STATE(
      "winnow-streaming-state",
      "the state of a pruning run",
      "remove the folder that it is in to start again"),
  /** Which experts and channels stay. */
  NARROWING_PLAN("winnow-narrowing-plan", "a narrowing plan", "write one with NarrowingPlan.write"),
  /** What was narrowed and repaired. */
  NARROWING_REPORT(
      "winnow-narrowing-report", "a report of narrowing", "write one with NarrowingReport.write"),
  /** What was tried to make a model smaller. */
  SHRINK_REPORT(
      "winnow-shrink-report", "a report of shrinking", "write one with ShrinkReport.write"),
  /** Which search an evolutionary search's journal is of. */
  EVOLUTION_JOURNAL(
      "winnow-evolution-journal", "the description of a search", "choose another folder"),
  /** What an evolutionary search found. */
  EVOLUTION_REPORT(
      "winnow-evolution-report",
      "a report of an evolutionary search",
      "write one with EvolutionReport.write"),
  /** Which weights are zero. */
  SPARSITY_REPORT(
      "winnow-sparsity-report", "a report of sparsity", "write one with SparsityReport.write"),
  /** Which experts are skipped. */
  SKIP_POLICY("winnow-skip-policy", "a skip policy", "make one with SkipPolicy.calibrate"),
  /** Which training a folder of checkpoints is of. */
  TRAINING("winnow-training", "the description of a training", "choose another folder");

  /** The member that says what a file is. */
  public static final String FIELD = "kind";

  /** The kind stands among the first bytes of a file of ours. */
  private static final int PEEK_BYTES = 1024;

  private static final Pattern ANY_KIND = Pattern.compile("\"kind\"\\s*:\\s*\"(winnow-[a-z-]+)\"");

  private final String id;
  private final String inWords;
  private final String cure;

  FileKind(String id, String inWords, String cure) {
    this.id = id;
    this.inWords = inWords;
    this.cure = cure;
  }

  /** Returns what stands in the file, such as {@code winnow-pruning-plan}. */
  public String id() {
    return id;
  }

  /** Returns what is said of the file, such as "a pruning plan". */
  public String inWords() {
    return inWords;
  }

  /** Returns a JSON object that begins with this kind. */
  public JsonObject newJson() {
    JsonObject json = new JsonObject();
    json.addProperty(FIELD, id);
    return json;
  }

  /**
   * Reads a JSON file of this kind, or of a version that did not note kinds.
   *
   * @throws InvalidInputException if it cannot be read, is no JSON object, or is of another kind
   */
  public JsonObject read(Path file) {
    checkIsNoOther(file);
    JsonObject json = JsonFiles.read(file, inWords);
    JsonElement kind = json.get(FIELD);
    if (kind != null) {
      check(file, kind.isJsonPrimitive() ? kind.getAsString() : kind.toString());
    }
    return json;
  }

  /**
   * Checks what a file begins with, whatever its format; nothing if that tells no kind.
   *
   * @throws InvalidInputException if it is of another kind
   */
  public void checkIsNoOther(Path file) {
    check(file, peek(file));
  }

  private void check(Path file, @Nullable String found) {
    if (found != null && !found.equals(id)) {
      throw new InvalidInputException(
          String.format(
              "%s is %s (kind %s), not %s (kind %s); %s",
              file, inWords(found), found, inWords, id, cure));
    }
  }

  private static String inWords(String id) {
    return Arrays.stream(values())
        .filter(kind -> kind.id.equals(id))
        .map(FileKind::inWords)
        .findFirst()
        .orElse("another file");
  }

  private static @Nullable String peek(Path file) {
    if (!Files.isRegularFile(file)) {
      return null;
    }
    try (InputStream in = Files.newInputStream(file)) {
      String start = new String(in.readNBytes(PEEK_BYTES), StandardCharsets.ISO_8859_1);
      Matcher matcher = ANY_KIND.matcher(start);
      return matcher.find() ? matcher.group(1) : null;
    } catch (IOException e) {
      return null; // Reading it says what is wrong.
    }
  }
}
