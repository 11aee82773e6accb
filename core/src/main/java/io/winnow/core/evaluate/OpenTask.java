package io.winnow.core.evaluate;

import java.util.List;

/**
 * Open questions whose prompts are cut into tokens once, to be evaluated often: {@link
 * Evaluator#prepareOpen} makes it. Immutable and thread-safe; it holds no native memory, and serves
 * every model with the same tokenizer.
 */
public final class OpenTask {
  private final List<OpenQuestion> questions;
  private final List<long[]> prompts;

  OpenTask(List<OpenQuestion> questions, List<long[]> prompts) {
    this.questions = List.copyOf(questions);
    this.prompts = List.copyOf(prompts);
  }

  /** Returns the questions. */
  public List<OpenQuestion> questions() {
    return questions;
  }

  List<long[]> prompts() {
    return prompts;
  }
}
