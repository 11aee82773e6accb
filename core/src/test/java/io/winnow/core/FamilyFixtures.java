package io.winnow.core;

import io.winnow.core.internal.checkpoint.Checkpoint;
import io.winnow.core.internal.safetensors.OutputTensor;
import io.winnow.core.internal.safetensors.SafetensorsFile;
import io.winnow.core.internal.safetensors.TensorInfo;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.params.provider.Arguments;

/**
 * The families' checkpoints of random weights, {@link Fixtures#golden}, and other orders of them.
 */
public final class FamilyFixtures {
  /** All families, by the names of their folders. */
  public static final List<String> FAMILIES =
      List.of(
          "mixtral",
          "qwen2_moe",
          "qwen3_moe",
          "olmoe",
          "phimoe",
          "granitemoe",
          "ernie4_5_moe",
          "deepseek_v2",
          "deepseek_v3",
          "glm4_moe",
          "gpt_oss",
          "llama4",
          "glm4_moe_lite",
          "dots1",
          "solar_open",
          "flex_olmo",
          "mellum",
          "minimax_m2");

  /** Tensors that hold a row, or a column of their only row, for each expert of layer (1). */
  public static final Pattern EXPERT_ROWS =
      Pattern.compile(
          "model\\.layers\\.(\\d+)\\.(?:mlp|block_sparse_moe|feed_forward)\\.(?:gate\\.weight|"
              + "router\\.weight|router\\.bias|router\\.layer\\.weight|.*e_score_correction_bias|"
              + "experts\\.gate_up_proj|experts\\.gate_up_proj_bias|experts\\.down_proj|"
              + "experts\\.down_proj_bias|input_linear\\.weight|output_linear\\.weight)");

  /** Tensors of layer (2)'s expert (3) alone. */
  public static final Pattern EXPERT =
      Pattern.compile("(model\\.layers\\.(\\d+)\\..*\\.experts\\.)(\\d+)(\\..*)");

  private FamilyFixtures() {}

  /** Returns {@link #FAMILIES}, as the source of a test's arguments. */
  public static List<String> families() {
    return FAMILIES;
  }

  /** Returns every family, with the fused kernel and without. */
  public static Stream<Arguments> familiesAndKernels() {
    return FAMILIES.stream()
        .flatMap(family -> Stream.of(Arguments.of(family, true), Arguments.of(family, false)));
  }

  /** Returns what the reference computes of a family's random weights. */
  public static SafetensorsFile golden(String family) {
    return SafetensorsFile.open(Fixtures.golden(family).resolve("golden.safetensors"));
  }

  /** Returns the tokens that it computes that of. */
  public static TokenSequences inputs(String family) {
    return Fixtures.tokens(Fixtures.golden(family).resolve("golden.safetensors"), "input_ids");
  }

  /**
   * Writes a family's checkpoint with its experts in another order.
   *
   * @param order the present number of each new expert
   */
  public static Path reordered(String family, Path target, int... order) throws IOException {
    Path source = Fixtures.golden(family);
    List<Integer> places = Arrays.stream(order).boxed().toList();
    List<OutputTensor> tensors = new ArrayList<>();
    for (TensorInfo info : Checkpoint.open(source).tensors().values()) {
      Matcher expert = EXPERT.matcher(info.name());
      if (expert.matches()) {
        int place = places.indexOf(Integer.valueOf(expert.group(3)));
        tensors.add(OutputTensor.copyOf(info, expert.group(1) + place + expert.group(4)));
      } else if (EXPERT_ROWS.matcher(info.name()).matches()) {
        TensorInfo column =
            new TensorInfo(
                info.name(),
                info.type(),
                info.shape().get(0) == 1 ? List.of(info.elements()) : info.shape(),
                info.file(),
                info.offset(),
                info.length());
        OutputTensor rows = OutputTensor.rows(column, info.name(), order);
        tensors.add(new OutputTensor(info.name(), info.type(), info.shape(), rows.segments()));
      } else {
        tensors.add(OutputTensor.copyOf(info));
      }
    }
    Files.createDirectories(target);
    Files.copy(source.resolve("config.json"), target.resolve("config.json"));
    SafetensorsFile.write(target.resolve("model.safetensors"), tensors, Map.of("format", "pt"));
    return target;
  }
}
