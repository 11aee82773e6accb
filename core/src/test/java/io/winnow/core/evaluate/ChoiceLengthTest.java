package io.winnow.core.evaluate;

import static org.assertj.core.api.Assertions.assertThat;

import ai.djl.Model;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import io.winnow.core.calibration.TextTokenizer;
import io.winnow.core.model.MoeModels;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;

/** Choices in several scripts, whose lengths in characters and in bytes differ. */
class ChoiceLengthTest {
  private static final Path CASE = Path.of("src/test/resources/cases/a09-acc-norm-characters");

  @Test
  void accuraciesAreThoseOfTheHarness() throws Exception {
    JsonObject expected =
        JsonParser.parseString(Files.readString(CASE.resolve("harness.json"))).getAsJsonObject();
    List<MultipleChoiceQuestion> questions =
        Question.read(CASE.resolve("questions.jsonl")).stream()
            .map(MultipleChoiceQuestion.class::cast)
            .toList();
    try (TextTokenizer tokenizer = TextTokenizer.open(CASE.resolve("model"));
        Model model = MoeModels.load(CASE.resolve("model"))) {
      Evaluator evaluator = Evaluator.of(model, tokenizer);
      MultipleChoiceResult result = evaluator.evaluate(evaluator.prepareChoices(questions, ""));
      assertThat(result.accuracy()).isEqualTo(expected.get("acc").getAsDouble());
      assertThat(result.accuracyByCharacter()).isEqualTo(expected.get("acc_norm").getAsDouble());
      assertThat(result.accuracyByByte()).isEqualTo(expected.get("acc_bytes").getAsDouble());
    }
  }

  @Test
  void charactersAreCodePoints() {
    MultipleChoiceQuestion question =
        new MultipleChoiceQuestion("", List.of("\uD83D\uDE00\uD83D\uDE00", "abc"), 0);
    List<LogLikelihood> choices =
        List.of(new LogLikelihood(-3.2, false), new LogLikelihood(-4.0, false));
    MultipleChoiceResult.Answer answer = MultipleChoiceResult.Answer.of(question, choices);
    // By code points -1.6 and -1.33, by UTF-16 units -0.8, by bytes -0.4.
    assertThat(answer.chosenByCharacter()).isEqualTo(1);
    assertThat(answer.chosenByByte()).isEqualTo(0);
    assertThat(answer.chosen()).isEqualTo(0);
  }
}
