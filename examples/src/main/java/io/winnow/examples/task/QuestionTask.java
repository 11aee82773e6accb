package io.winnow.examples.task;

import ai.djl.Model;
import io.winnow.core.InvalidInputException;
import io.winnow.core.MoeModel;
import io.winnow.core.TokenSequences;
import io.winnow.core.calibration.Calibration;
import io.winnow.core.calibration.TextTokenizer;
import io.winnow.core.evaluate.Evaluator;
import io.winnow.core.evaluate.LogLikelihood;
import io.winnow.core.evaluate.MultipleChoiceQuestion;
import io.winnow.core.evaluate.MultipleChoiceResult;
import io.winnow.core.evaluate.MultipleChoiceTask;
import io.winnow.core.evaluate.OpenQuestion;
import io.winnow.core.evaluate.OpenResult;
import io.winnow.core.evaluate.OpenTask;
import io.winnow.core.evaluate.Question;
import java.nio.file.Path;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.function.ToDoubleFunction;
import java.util.stream.Collectors;

/**
 * Questions, on which a model is worth the share that it answers right.
 *
 * <p>Many individuals answer equally many. Of these the one is better that gives the right choices
 * more probability, or whose generated answers have more words of the right ones (F1): a number
 * below 1 that is added to the count of right answers, so that it never outweighs one.
 */
final class QuestionTask implements EvolutionTask {
  private static final int CALIBRATION_LENGTH = 256;

  /** So that a perfect model is not worth one answer more than there are. */
  private static final double BELOW_ONE = 1 - 1e-9;

  private final TaskPlan plan;
  private final TextTokenizer tokenizer;
  private final int maxPositions;

  QuestionTask(TaskPlan plan, Path model, int maxPositions) {
    this.plan = plan;
    this.maxPositions = maxPositions;
    tokenizer = TextTokenizer.open(model);
  }

  @Override
  public String digest() {
    return "accuracy " + plan.digest();
  }

  @Override
  public String textDigest() {
    return plan.digest();
  }

  @Override
  public ToDoubleFunction<MoeModel> measure(List<Model> models) {
    Map<MoeModel, Evaluator> evaluators = new IdentityHashMap<>();
    models.forEach(model -> evaluators.put(MoeModel.of(model), plan.evaluator(model, tokenizer)));
    Evaluator any = evaluators.values().iterator().next();
    if (plan.questions().get(0) instanceof MultipleChoiceQuestion) {
      MultipleChoiceTask task = any.prepareChoices(plan.choices(), plan.fewShot());
      return block -> worth(Objects.requireNonNull(evaluators.get(block)).evaluate(task));
    }
    OpenTask task = any.prepareOpen(plan.open(), plan.fewShot());
    return block ->
        worth(
            Objects.requireNonNull(evaluators.get(block))
                .evaluate(task, plan.config(), plan.matcher(), null));
  }

  private static double worth(MultipleChoiceResult result) {
    double probability = 0;
    for (MultipleChoiceResult.Answer answer : result.answers()) {
      double right = answer.choices().get(answer.question().answer()).logLikelihood();
      double sum = 0;
      for (LogLikelihood choice : answer.choices()) {
        sum += Math.exp(choice.logLikelihood() - right);
      }
      probability += 1 / sum; // Not a number if the model's are none, which counts as worst.
    }
    int count = result.answers().size();
    return result.accuracy() + BELOW_ONE * probability / count / count;
  }

  private static double worth(OpenResult result) {
    return result.exactMatch() + BELOW_ONE * result.f1() / result.answers().size();
  }

  @Override
  public Calibration calibration() {
    String text =
        plan.questions().stream()
            .map(Question::solved)
            .collect(Collectors.joining(Question.SEPARATOR));
    return Calibration.builder()
        .setText(text)
        .optTokenizer(tokenizer)
        .optLength(
            Math.min(tokenizer.encode(text).length, Math.min(CALIBRATION_LENGTH, maxPositions)))
        .build();
  }

  @Override
  public TokenSequences trainingText() {
    throw new InvalidInputException("Questions have no gradients; use text");
  }

  @Override
  public String columns() {
    return String.format(
        "%8s  %10s  %10s",
        plan.questions().get(0) instanceof OpenQuestion ? "exact" : "accuracy", "right", "change");
  }

  @Override
  public String describe(double fitness, double start) {
    int count = plan.questions().size();
    long right = right(fitness);
    return String.format(
        Locale.ROOT,
        "%8.4f  %10s  %+10d",
        (double) right / count,
        right + " of " + count,
        right - right(start));
  }

  private long right(double fitness) {
    return (long) Math.floor(fitness * plan.questions().size() + 1e-12);
  }

  @Override
  public void close() {
    tokenizer.close();
  }
}
