package io.winnow.core.evaluate;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import ai.djl.Device;
import ai.djl.Model;
import ai.djl.ndarray.types.DataType;
import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import io.winnow.core.Fixtures;
import io.winnow.core.calibration.TextTokenizer;
import io.winnow.core.model.MoeModels;
import java.io.Reader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;

/** Log-likelihoods of lm-evaluation-harness 0.4.13, written by {@code lm_eval_golden.py}. */
class EvaluatorTest {
  private static Model load(Path folder) {
    return MoeModels.loader(folder).optDevice(Device.cpu()).optDataType(DataType.FLOAT32).load();
  }

  private static JsonObject golden(String file) throws Exception {
    try (Reader reader = Files.newBufferedReader(Fixtures.lmEvalGolden(file))) {
      return JsonParser.parseReader(reader).getAsJsonObject();
    }
  }

  private static long[] ids(JsonObject request, String field) {
    JsonArray array = request.getAsJsonArray(field);
    return array.asList().stream().mapToLong(JsonElement::getAsLong).toArray();
  }

  private static void assertEqualsHarness(Path folder, String goldenFile) throws Exception {
    JsonObject golden = golden(goldenFile);
    try (Model model = load(folder);
        TextTokenizer tokenizer = TextTokenizer.open(folder)) {
      Evaluator evaluator = Evaluator.of(model, tokenizer);
      for (JsonElement element : golden.getAsJsonArray("loglikelihood")) {
        JsonObject request = element.getAsJsonObject();
        String context = request.get("context").getAsString();
        String continuation = request.get("continuation").getAsString();
        LogLikelihood expected =
            new LogLikelihood(
                request.get("logprob").getAsDouble(), request.get("is_greedy").getAsBoolean());
        long[] contextIds = ids(request, "context_ids");
        long[] continuationIds = ids(request, "continuation_ids");
        for (LogLikelihood result :
            List.of(
                evaluator.logLikelihood(context, continuation),
                Evaluator.of(model).logLikelihoods(contextIds, List.of(continuationIds)).get(0))) {
          assertThat(result.logLikelihood()).isCloseTo(expected.logLikelihood(), within(1e-3));
          assertThat(result.greedy()).isEqualTo(expected.greedy());
        }
      }
      for (JsonElement element : golden.getAsJsonArray("rolling")) {
        JsonObject request = element.getAsJsonObject();
        double expected = request.get("logprob").getAsDouble();
        assertThat(evaluator.logLikelihoodRolling(request.get("text").getAsString()))
            .isCloseTo(expected, within(1e-5 * -expected));
      }
    }
  }

  @Test
  void logLikelihoodsOfTheFullModelEqualTheHarness() throws Exception {
    assertEqualsHarness(Fixtures.TINY_MIXTRAL, "lm_eval_golden.json");
  }

  @Test
  void logLikelihoodsOfThePrunedModelEqualTheHarness() throws Exception {
    assertEqualsHarness(Fixtures.TINY_MIXTRAL_R4, "lm_eval_golden_r4.json");
  }
}
