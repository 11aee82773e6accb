package io.winnow.core.evaluate;

import io.winnow.core.internal.scoring.Continuations;
import java.util.List;

/**
 * Multiple-choice questions cut into tokens once, to be evaluated often: {@link
 * Evaluator#prepareChoices} makes it. Immutable and thread-safe; it holds no native memory, and
 * serves every model with the same tokenizer.
 */
public final class MultipleChoiceTask {
  private final List<MultipleChoiceQuestion> questions;
  private final List<Continuations> tokens;

  MultipleChoiceTask(List<MultipleChoiceQuestion> questions, List<Continuations> tokens) {
    this.questions = List.copyOf(questions);
    this.tokens = List.copyOf(tokens);
  }

  /** Returns the questions. */
  public List<MultipleChoiceQuestion> questions() {
    return questions;
  }

  List<Continuations> tokens() {
    return tokens;
  }
}
