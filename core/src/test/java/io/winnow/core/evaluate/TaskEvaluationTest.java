package io.winnow.core.evaluate;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import ai.djl.Device;
import ai.djl.Model;
import ai.djl.ndarray.types.DataType;
import ai.djl.util.Progress;
import com.google.common.primitives.Longs;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import io.winnow.core.Fixtures;
import io.winnow.core.InvalidInputException;
import io.winnow.core.calibration.TextTokenizer;
import io.winnow.core.generate.GenerationConfig;
import io.winnow.core.generate.Generator;
import io.winnow.core.model.MoeModels;
import java.nio.file.Files;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CancellationException;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** Tasks on the small model with 4 experts a layer, in float32. */
class TaskEvaluationTest {
  private static Model model;
  private static TextTokenizer tokenizer;
  private static List<MultipleChoiceQuestion> questions;
  private static Evaluator evaluator;

  @BeforeAll
  static void load() {
    model =
        MoeModels.loader(Fixtures.TINY_MIXTRAL_R4)
            .optDevice(Device.cpu())
            .optDataType(DataType.FLOAT32)
            .load();
    tokenizer = TextTokenizer.open(Fixtures.TINY_MIXTRAL_R4);
    evaluator = Evaluator.of(model, tokenizer);
    questions =
        Question.read(Fixtures.task("code-train.jsonl")).stream()
            .map(MultipleChoiceQuestion.class::cast)
            .toList();
  }

  @AfterAll
  static void close() {
    tokenizer.close();
    model.close();
  }

  private static void assertClose(MultipleChoiceResult result, MultipleChoiceResult expected) {
    assertThat(result.answers()).hasSameSizeAs(expected.answers());
    for (int i = 0; i < expected.answers().size(); i++) {
      List<LogLikelihood> choices = expected.answers().get(i).choices();
      for (int choice = 0; choice < choices.size(); choice++) {
        assertThat(result.answers().get(i).choices().get(choice).logLikelihood())
            .as("question %d, choice %d", i, choice)
            .isCloseTo(choices.get(choice).logLikelihood(), within(1e-3));
      }
    }
  }

  @Test
  void theAccuracyEqualsThatOfTransformers() throws Exception {
    JsonObject expected =
        JsonParser.parseString(Files.readString(Fixtures.task("reference.json")))
            .getAsJsonObject()
            .getAsJsonObject("naee_code_r4")
            .getAsJsonObject("code-train");
    MultipleChoiceResult result = evaluator.evaluate(evaluator.prepareChoices(questions, ""));
    assertThat(result.answers()).hasSize(400);
    assertThat(result.accuracy()).isEqualTo(expected.get("acc").getAsDouble());
    // The choices are ASCII.
    assertThat(result.accuracyByCharacter()).isEqualTo(expected.get("acc_norm").getAsDouble());
    assertThat(result.accuracyByByte()).isEqualTo(expected.get("acc_norm").getAsDouble());
    assertThat(result.standardError(0.62)).isCloseTo(0.0243, within(1e-4));
  }

  @Test
  void sharedPrefixesAndBatchesDoNotChangeTheResult() {
    String examples = Question.fewShot(questions, 2);
    List<MultipleChoiceQuestion> some = questions.subList(2, 14);
    MultipleChoiceTask task = evaluator.prepareChoices(some, examples);
    MultipleChoiceResult whole = evaluator.withoutSharing().evaluate(task);
    MultipleChoiceResult shared = evaluator.withBatch(5).evaluate(task);
    assertClose(shared, whole);
    assertClose(evaluator.withBatch(1).evaluate(task), whole);
    assertThat(evaluator.withBatch(5).evaluate(task)).isEqualTo(shared);
    MultipleChoiceQuestion first = some.get(0);
    assertThat(
            evaluator
                .logLikelihood(examples + first.context(), first.choices().get(0))
                .logLikelihood())
        .isCloseTo(whole.answers().get(0).choices().get(0).logLikelihood(), within(1e-3));
  }

  @Test
  void choicesOfOneTokenNeedNoSecondPass() {
    long[] context = tokenizer.encode("def test_");
    List<long[]> tokens = List.of(new long[] {300}, new long[] {301}, new long[] {302, 303});
    List<LogLikelihood> together = evaluator.logLikelihoods(context, tokens);
    for (int i = 0; i < tokens.size(); i++) {
      assertThat(together.get(i).logLikelihood())
          .isCloseTo(
              evaluator
                  .withoutSharing()
                  .logLikelihoods(context, tokens.subList(i, i + 1))
                  .get(0)
                  .logLikelihood(),
              within(1e-4));
    }
  }

  @Test
  void whatGreedyDecodingGeneratesIsGreedy() {
    long[] prompt = tokenizer.encode("    def test_");
    long[] generated = Generator.of(model).withEndTokens(Set.of()).generate(prompt, 12);
    long[] other = generated.clone();
    other[11] = (other[11] + 1) % 1024;
    List<LogLikelihood> results = evaluator.logLikelihoods(prompt, List.of(generated, other));
    assertThat(results.get(0).greedy()).isTrue();
    assertThat(results.get(1).greedy()).isFalse();
    assertThat(results.get(0).logLikelihood()).isGreaterThan(results.get(1).logLikelihood());
  }

  @Test
  void aLongContextLosesItsBeginning() {
    long[] tokens = Fixtures.naeeTokens("valid.code").sequence(0);
    long[] context = Arrays.copyOf(tokens, 100);
    List<long[]> continuations =
        List.of(Arrays.copyOfRange(tokens, 100, 103), Arrays.copyOfRange(tokens, 100, 110));
    List<LogLikelihood> cut = evaluator.withMaxLength(32).logLikelihoods(context, continuations);
    for (int i = 0; i < 2; i++) {
      long[] rest = Arrays.copyOfRange(context, 100 - (33 - continuations.get(i).length), 100);
      assertThat(cut.get(i).logLikelihood())
          .isCloseTo(
              evaluator
                  .logLikelihoods(rest, continuations.subList(i, i + 1))
                  .get(0)
                  .logLikelihood(),
              within(1e-4));
    }
  }

  @Test
  void rollingWindowsPredictEveryTokenOnce() {
    long[] tokens = Arrays.copyOf(Fixtures.naeeTokens("valid.code").sequence(0), 20);
    double expected = 0;
    int[][] windows = {{0, 0, 8}, {7, 8, 16}, {11, 16, 20}}; // context's start, its end, the end
    for (int[] window : windows) {
      long[] context = Arrays.copyOfRange(tokens, window[0], window[1]);
      expected +=
          evaluator
              .logLikelihoods(
                  window[1] == 0 ? Longs.concat(new long[] {1}, context) : context,
                  List.of(Arrays.copyOfRange(tokens, window[1], window[2])))
              .get(0)
              .logLikelihood();
    }
    assertThat(evaluator.withMaxLength(8).logLikelihoodRolling(tokens))
        .isCloseTo(expected, within(1e-4));
    assertThat(evaluator.logLikelihoodRolling("")).isZero();
  }

  @Test
  void openQuestionsAreAnsweredAsByTheGeneratorAlone() {
    String examples = Question.fewShot(questions, 1);
    List<String> prompts = List.of("def test_", "class Foo:\n    def ", "import os\n", "return x");
    GenerationConfig config = GenerationConfig.builder(12).optStopStrings("\n").build();
    Generator generator = Generator.of(model).withTokenizer(tokenizer);
    List<OpenQuestion> open =
        prompts.stream()
            .map(
                prompt ->
                    new OpenQuestion(
                        prompt,
                        List.of(
                            generator.generate(examples + prompt, config).text().orElseThrow())))
            .toList();
    OpenTask task = evaluator.prepareOpen(open, examples);
    AnswerMatcher exactly =
        AnswerMatcher.squad().withNormalization(AnswerMatcher.Normalization.NONE);
    for (int batch : new int[] {1, 3, 16}) {
      OpenResult result = evaluator.withBatch(batch).evaluate(task, config, exactly);
      assertThat(result.answers().stream().map(OpenResult.Answer::text))
          .isEqualTo(open.stream().map(question -> question.answers().get(0)).toList());
      assertThat(result.exactMatch()).isEqualTo(1);
      assertThat(result.f1()).isEqualTo(1);
    }
  }

  @Test
  void textThatCannotBeScoredIsRefused() {
    refused(() -> evaluator.logLikelihood("x", ""), "A continuation has no tokens");
    refused(() -> evaluator.logLikelihoods("x", List.of()), "There is no continuation");
    refused(
        () -> evaluator.logLikelihoods(new long[] {1024}, List.of(new long[] {1})),
        "token id 1024, outside the vocabulary of 1024");
    refused(
        () -> evaluator.logLikelihoods(new long[0], List.of(new long[] {1})),
        "A context has no tokens");
    refused(
        () -> evaluator.logLikelihoods(new long[] {1}, List.of(new long[513])),
        "513 tokens, more than the 512");
    refused(() -> evaluator.withMaxLength(513), "the model has 512 positions");
    refused(() -> evaluator.withBatch(0), "use at least 1");
    refused(() -> Evaluator.of(model).logLikelihood("x", "y"), "Text needs a tokenizer");
    refused(() -> Evaluator.of(model).logLikelihoodRolling(new long[] {1}), "needs a prefix token");
    refused(() -> evaluator.prepareChoices(List.of(), ""), "There are no questions");
    OpenTask open = evaluator.prepareOpen(List.of(new OpenQuestion("x", List.of("y"))), "");
    AnswerMatcher squad = AnswerMatcher.squad();
    refused(
        () -> evaluator.evaluate(open, GenerationConfig.greedy(512), squad),
        "leave no room for a prompt");
    refused(
        () ->
            evaluator.evaluate(open, GenerationConfig.builder(4).optTemperature(1).build(), squad),
        "the temperature is 1.0");
  }

  private static void refused(Runnable call, String message) {
    assertThatThrownBy(call::run)
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining(message);
  }

  @Test
  void anInterruptEndsTheEvaluation() {
    MultipleChoiceTask task = evaluator.prepareChoices(questions.subList(0, 2), "");
    Thread.currentThread().interrupt();
    try {
      assertThatThrownBy(() -> evaluator.evaluate(task)).isInstanceOf(CancellationException.class);
      assertThat(Thread.currentThread().isInterrupted()).isTrue();
    } finally {
      Thread.interrupted();
    }
  }

  @Test
  void progressCountsQuestionsAndNothingStaysInNativeMemory() {
    MultipleChoiceTask task = evaluator.prepareChoices(questions.subList(0, 5), "");
    long[] counted = new long[3];
    Progress progress =
        new Progress() {
          @Override
          public void reset(String message, long max, String trailingMessage) {
            counted[0] = max;
          }

          @Override
          public void start(long initialProgress) {}

          @Override
          public void end() {
            counted[2]++;
          }

          @Override
          public void increment(long increment) {
            counted[1] += increment;
          }

          @Override
          public void update(long progress, String message) {}
        };
    int before = model.getNDManager().getManagedArrays().size();
    evaluator.withBatch(2).evaluate(task, progress);
    assertThat(counted).containsExactly(5, 5, 1);
    assertThat(model.getNDManager().getManagedArrays()).hasSize(before);
  }
}
