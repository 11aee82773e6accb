package io.winnow.skipping;

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
import io.winnow.core.MoeModel;
import io.winnow.core.evaluate.Perplexity;
import io.winnow.core.model.MoeModels;
import java.nio.file.Files;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Thresholds, skip rates and perplexities against a re-implementation of NAEE's code in Python. */
class NaeeSkippingReferenceTest {
  @ParameterizedTest(name = "{0} calibrated on {1}")
  @CsvSource({
    "full, prose",
    "full, code",
    "naee_prose_r6, prose",
    "naee_prose_r4, prose",
    "naee_code_r6, code",
    "naee_code_r4, code"
  })
  void betasRatesAndPerplexitiesEqualTheReference(String variant, String domain) throws Exception {
    JsonObject reference =
        JsonParser.parseString(Files.readString(Fixtures.NAEE_REFERENCE)).getAsJsonObject();
    JsonObject expected =
        reference.getAsJsonObject("skipping").getAsJsonObject(variant + "|calib_" + domain);
    MoeModels.Loader loader =
        MoeModels.loader(Fixtures.TINY_MIXTRAL)
            .optDevice(Device.cpu())
            .optDataType(DataType.FLOAT32);
    if (!variant.equals("full")) {
      Map<Integer, List<Integer>> retained = new TreeMap<>();
      JsonArray kept = reference.getAsJsonObject("keepsets").getAsJsonArray(variant);
      for (int layer = 0; layer < kept.size(); layer++) {
        retained.put(
            layer,
            kept.get(layer).getAsJsonArray().asList().stream().map(JsonElement::getAsInt).toList());
      }
      loader.optRetained(retained);
    }
    try (Model model = loader.load()) {
      BetaSkipPolicy policy = SkipPolicy.calibrate(model, Fixtures.naeeCalibration(domain));
      JsonArray betas = expected.getAsJsonArray("beta_median");
      for (int layer = 0; layer < 4; layer++) {
        assertThat(policy.betas().get(layer))
            .isCloseTo(betas.get(layer).getAsDouble(), within(1e-4));
      }
      SkipCounter counter = new SkipCounter();
      MoeModel.of(model).routerHooks().set(policy.asHook(counter));
      for (String valid : List.of("prose", "code")) {
        double wanted =
            expected.getAsJsonObject("ppl").getAsJsonObject(valid).get("ppl").getAsDouble();
        assertThat(Perplexity.of(model, Fixtures.naeeTokens("valid." + valid)).perplexity())
            .as("perplexity on %s", valid)
            .isCloseTo(wanted, within(0.001 * wanted));
      }
      JsonArray rates = expected.getAsJsonArray("skip_rate_valid_both_domains");
      for (SkipStatistics.Layer layer : counter.snapshot().layers()) {
        assertThat(layer.tokens()).isEqualTo(2L * 256 * 256);
        assertThat(layer.rate())
            .as("rate of layer %d", layer.layer())
            .isCloseTo(rates.get(layer.layer()).getAsDouble(), within(0.01));
      }
    }
  }
}
