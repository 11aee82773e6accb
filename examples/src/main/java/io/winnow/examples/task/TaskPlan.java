package io.winnow.examples.task;

import ai.djl.Model;
import io.winnow.core.calibration.TextTokenizer;
import io.winnow.core.evaluate.AnswerMatcher;
import io.winnow.core.evaluate.Evaluator;
import io.winnow.core.evaluate.MultipleChoiceQuestion;
import io.winnow.core.evaluate.OpenQuestion;
import io.winnow.core.evaluate.Question;
import io.winnow.core.generate.GenerationConfig;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Questions and how they are asked, read and checked before the model is loaded.
 *
 * @param digest identifies questions and options
 */
public record TaskPlan(
    List<Question> questions,
    String fewShot,
    GenerationConfig config,
    AnswerMatcher matcher,
    @Nullable Integer batch,
    String digest) {
  /** Returns the questions, which are multiple-choice ones. */
  public List<MultipleChoiceQuestion> choices() {
    return questions.stream().map(MultipleChoiceQuestion.class::cast).toList();
  }

  /** Returns the questions, which are open ones. */
  public List<OpenQuestion> open() {
    return questions.stream().map(OpenQuestion.class::cast).toList();
  }

  /** Returns the share of questions that a model answers right. */
  public double accuracy(Model model, TextTokenizer tokenizer) {
    Evaluator evaluator = evaluator(model, tokenizer);
    return questions.get(0) instanceof MultipleChoiceQuestion
        ? evaluator.evaluate(evaluator.prepareChoices(choices(), fewShot)).accuracy()
        : evaluator.evaluate(evaluator.prepareOpen(open(), fewShot), config, matcher).exactMatch();
  }

  /** Returns what asks a model. */
  public Evaluator evaluator(Model model, TextTokenizer tokenizer) {
    Evaluator evaluator = Evaluator.of(model, tokenizer);
    return batch == null ? evaluator : evaluator.withBatch(batch);
  }
}
