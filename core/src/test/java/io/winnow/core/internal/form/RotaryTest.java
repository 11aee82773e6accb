package io.winnow.core.internal.form;

import static io.winnow.core.internal.form.Rotary.Reading.WHOLE;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import io.winnow.core.InvalidInputException;
import io.winnow.core.RandomCheckpoint;
import io.winnow.core.internal.checkpoint.Checkpoint;
import io.winnow.core.internal.checkpoint.CheckpointConfig;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Frequencies against {@code transformers.modeling_rope_utils} 5.17. */
class RotaryTest {
  @TempDir private Path folder;

  private CheckpointConfig config(String field, String value) throws IOException {
    JsonObject object = JsonParser.parseString(value.replace('\'', '"')).getAsJsonObject();
    Path written = new RandomCheckpoint().set(field, object).write(folder.resolve("model"));
    JsonObject family = new JsonObject();
    family.addProperty("rope_theta", 10_000);
    return Checkpoint.open(written).config().withDefaults(family, List.of());
  }

  @ParameterizedTest(name = "{0}")
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '`',
      value = {
        "{'rope_type':'linear','rope_theta':10000,'factor':4}|1|0.25 0.079056941 0.025"
            + " 0.00790569466 0.0025 0.000790569466 0.00025 7.90569466e-05",
        "{'rope_type':'dynamic','rope_theta':10000,'factor':4}|1|1 0.316227766 0.1 0.0316227766"
            + " 0.01 0.00316227766 0.001 0.000316227766",
        "{'rope_type':'llama3','rope_theta':500000,'factor':8,'low_freq_factor':1,"
            + "'high_freq_factor':4,'original_max_position_embeddings':256}|1|1.0 0.193922758"
            + " 0.0105382307 0.000911583134 0.000176776681 3.42810235e-05 6.64786967e-06"
            + " 1.28917316e-06",
        "{'rope_type':'yarn','rope_theta':10000,'factor':4,"
            + "'original_max_position_embeddings':1024}|1.138629436111989|1.0 0.316227764"
            + " 0.0812500045 0.0197642371 0.00437500002 0.000790569466 0.000250000012"
            + " 7.90569466e-05",
        "{'rope_type':'yarn','rope_theta':150000,'factor':32,'beta_fast':32,'beta_slow':1,"
            + "'original_max_position_embeddings':4096,'truncate':false}|1.3465735902799727|1.0"
            + " 0.225418001 0.0508132726 0.00679495931 0.000456483918 1.8188337e-05"
            + " 4.09997847e-06 9.24208962e-07",
        "{'rope_type':'yarn','rope_theta':10000,'factor':40,'mscale':0.7,'mscale_all_dim':1,"
            + "'original_max_position_embeddings':4096}|0.9191559952044436|1.0 0.316227764"
            + " 0.100000001 0.0239147246 0.00512499968 0.000849862176 2.49999994e-05"
            + " 7.90569447e-06",
        "{'rope_type':'longrope','rope_theta':10000,'factor':4,"
            + "'original_max_position_embeddings':1024,"
            + "'short_factor':[1,1.1,1.2,1.3,1.4,1.5,1.6,1.7]}|1.0954451150103321|1.0"
            + " 0.287479758 0.0833333358 0.0243252143 0.00714285718 0.00210818532 0.000624999986"
            + " 0.000186016332"
      })
  void frequenciesEqualTransformers(String parameters, double factor, String expected)
      throws Exception {
    Rotary rotary = Rotary.read(config("rope_parameters", parameters), "", 16, WHOLE, 4096);
    String[] numbers = expected.split(" ");
    assertThat(rotary.inverseFrequencies()).hasSize(numbers.length);
    for (int i = 0; i < numbers.length; i++) {
      float number = Float.parseFloat(numbers[i]);
      assertThat(rotary.inverseFrequencies()[i]).isCloseTo(number, within(2e-6f * number));
    }
    assertThat(rotary.factor()).isCloseTo(factor, within(1e-12));
  }

  @Test
  void aPartOfAHeadHasTheFrequenciesOfASmallerOne() throws Exception {
    CheckpointConfig config = config("rope_parameters", "{'partial_rotary_factor':0.5}");
    assertThat(Rotary.read(config, "", 16, WHOLE.withPart(1), 4096).inverseFrequencies())
        .containsExactly(1, 0.1f, 0.01f, 0.001f);
  }

  @Test
  void longRopeEndsWhereItsOtherFactorsWouldBegin() throws Exception {
    CheckpointConfig config =
        config(
            "rope_scaling",
            "{'type':'longrope','short_factor':[1,1],'short_mscale':1.25,"
                + "'original_max_position_embeddings':512}");
    Rotary rotary = Rotary.read(config, "", 4, WHOLE.withFactorsByLength(), 4096);
    assertThat(rotary.maxPositions()).isEqualTo(512);
    assertThat(rotary.factor()).isEqualTo(1.25);
  }

  @ParameterizedTest(name = "{0}")
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '`',
      value = {
        "{'rope_type':'linear'}|'factor'",
        "{'rope_type':'llama3','factor':-1}|'factor'",
        "{'rope_type':'longrope','short_factor':[1]}|8 numbers",
        "{'rope_type':'spiral'}|'spiral'",
        "{'rope_theta':0}|rope_theta",
        "{'partial_rotary_factor':0.2}|even number"
      })
  void whatCannotBeComputedIsAnError(String parameters, String message) throws Exception {
    CheckpointConfig config = config("rope_parameters", parameters);
    assertThatThrownBy(() -> Rotary.read(config, "", 16, WHOLE.withPart(1), 4096))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining(message);
  }
}
