package io.winnow.core;

import io.winnow.core.calibration.Calibration;
import io.winnow.core.internal.safetensors.SafetensorsFile;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * The small trained model and the reference results of Hugging Face Transformers 5.17 (see the
 * README beside them). Tests run in the folder of their module.
 */
public final class Fixtures {
  private static final Path RESOURCES = Path.of("..", "core", "src", "test", "resources");

  /** A trained Mixtral: 4 layers of 8 experts, top-2, bfloat16. */
  public static final Path TINY_MIXTRAL = Path.of("..", "examples", "demo", "tiny-mixtral");

  /** The same with 4 experts a layer, written by Transformers. */
  public static final Path TINY_MIXTRAL_R4 = RESOURCES.resolve("tiny-mixtral-naee-r4-code");

  /** What Transformers computes with both. */
  public static final Path TINY_MIXTRAL_GOLDEN =
      RESOURCES.resolve("tiny-mixtral/tiny-mixtral-golden.safetensors");

  /** NAEE's results on {@link #TINY_MIXTRAL}. */
  public static final Path NAEE_REFERENCE = RESOURCES.resolve("tiny-mixtral/naee_ref.json");

  private static final Path NAEE_TOKENS = RESOURCES.resolve("tiny-mixtral/naee_tokens.safetensors");

  /** Returns log-likelihoods by lm-evaluation-harness. */
  public static Path lmEvalGolden(String file) {
    return RESOURCES.resolve("tiny-mixtral").resolve(file);
  }

  /** Returns a task, or the accuracies that Transformers reaches ({@code reference.json}). */
  public static Path task(String file) {
    return RESOURCES.resolve("tasks").resolve(file);
  }

  /** Texts of the demonstration. */
  public static final Path TEXT = Path.of("..", "examples", "demo", "text");

  private Fixtures() {}

  /** Returns a family's folder of random weights with {@code golden.safetensors} beside them. */
  public static Path golden(String family) {
    return RESOURCES.resolve("goldens").resolve(family);
  }

  /**
   * Returns the tokens {@code calib.prose}, {@code calib.code}, {@code valid.prose} or {@code
   * valid.code}.
   */
  public static TokenSequences naeeTokens(String name) {
    return tokens(NAEE_TOKENS, name);
  }

  /** Returns the first 64 windows of code that searches may tune on, {@code [64, 256]}. */
  public static TokenSequences tuneTokens() {
    return tokens(RESOURCES.resolve("tiny-mixtral/tune_tokens.safetensors"), "tune.code")
        .slice(0, 64);
  }

  /** Returns a calibration on the reference's tokens of a domain, prose or code. */
  public static Calibration naeeCalibration(String domain) {
    TokenSequences tokens = naeeTokens("calib." + domain);
    long[][] ids = new long[tokens.count()][];
    for (int i = 0; i < ids.length; i++) {
      ids[i] = tokens.sequence(i);
    }
    return Calibration.ofTokens(ids);
  }

  /** Returns a tensor of token ids {@code [sequences, length]}. */
  public static TokenSequences tokens(Path file, String name) {
    SafetensorsFile tensors = SafetensorsFile.open(file);
    int length = tensors.tensors().get(name).shape().get(1).intValue();
    long[] ids = tensors.readLongs(name);
    long[][] rows = new long[ids.length / length][length];
    for (int i = 0; i < ids.length; i++) {
      rows[i / length][i % length] = ids[i];
    }
    return TokenSequences.of(rows);
  }

  /** Returns the elements of a tensor in F32. */
  public static float[] floats(Path file, String name) {
    return SafetensorsFile.open(file).readFloats(name);
  }

  /** Returns the same selection for layers 0 to {@code layers} - 1. */
  public static Map<Integer, List<Integer>> everywhere(int layers, Integer... experts) {
    Map<Integer, List<Integer>> retained = new TreeMap<>();
    for (int layer = 0; layer < layers; layer++) {
      retained.put(layer, new ArrayList<>(List.of(experts)));
    }
    return retained;
  }
}
