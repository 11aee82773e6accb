package io.winnow.core.internal.scoring;

import ai.djl.Model;
import ai.djl.util.Progress;
import io.winnow.core.InvalidInputException;
import io.winnow.core.LanguageModel;
import io.winnow.core.MoeModel;
import java.util.ArrayList;
import java.util.List;

/**
 * Scores groups of continuations by a model: whole where context and continuations fit its
 * sequences, and otherwise one by one, with as much of the context as fits before each.
 */
public final class ContinuationScoring {
  private final Model model;
  private final int maxLength;
  private final int batch;
  private final boolean sharing;

  /**
   * Creates a scoring.
   *
   * @param maxLength tokens of a sequence
   * @param batch groups that are computed together
   * @param sharing whether what sequences begin with is computed once, where the model can
   */
  public ContinuationScoring(Model model, int maxLength, int batch, boolean sharing) {
    this.model = model;
    this.maxLength = maxLength;
    this.batch = batch;
    this.sharing = sharing;
  }

  /** Continuations of a group, the first of them the group's {@code first}. */
  private record Work(int group, int first, Continuations tokens) {}

  /**
   * Scores every continuation.
   *
   * @param progress is told of the groups that are done
   * @throws InvalidInputException if a group is empty, has no tokens or too many, or tokens outside
   *     the vocabulary
   */
  public ContinuationSums score(List<Continuations> groups, Progress progress) {
    groups.forEach(this::check);
    ContinuationSums sums = new ContinuationSums(groups);
    List<Work> whole = new ArrayList<>();
    List<Work> cut = new ArrayList<>();
    for (int i = 0; i < groups.size(); i++) {
      Continuations group = groups.get(i);
      if (group.context().length + group.longest() <= maxLength + 1) {
        whole.add(new Work(i, 0, group));
      } else {
        // The longer the continuation, the less of the context fits before it.
        for (int c = 0; c < group.continuations().size(); c++) {
          long[] continuation = group.continuations().get(c);
          long[] context = group.lastOfContext(maxLength + 1 - continuation.length);
          cut.add(new Work(i, c, new Continuations(context, List.of(continuation))));
        }
      }
    }
    progress.reset("Evaluating", whole.size() + cut.size());
    for (List<Work> works : List.of(whole, cut)) {
      if (!works.isEmpty()) {
        scorer()
            .score(
                works.stream().map(Work::tokens).toList(),
                (unit, continuation, likelihood, greedy) -> {
                  Work work = works.get(unit);
                  sums.add(work.group(), work.first() + continuation, likelihood, greedy);
                },
                progress::increment);
      }
    }
    progress.end();
    return sums;
  }

  private ContinuationScorer scorer() {
    return sharing && model.getBlock() instanceof LanguageModel languageModel
        ? new CachedScorer(model, languageModel, batch)
        : new PlainScorer(model, batch);
  }

  private void check(Continuations group) {
    check(group.context(), "context");
    if (group.continuations().isEmpty()) {
      throw new InvalidInputException("There is no continuation to score; give at least one");
    }
    for (long[] continuation : group.continuations()) {
      check(continuation, "continuation");
      if (continuation.length > maxLength) {
        throw new InvalidInputException(
            String.format(
                "A continuation has %d tokens, more than the %d of a sequence; shorten it, or use"
                    + " logLikelihoodRolling",
                continuation.length, maxLength));
      }
    }
  }

  private void check(long[] tokens, String name) {
    if (tokens.length == 0) {
      throw new InvalidInputException("A " + name + " has no tokens; give it at least one");
    }
    int vocabulary = MoeModel.of(model).vocabularySize();
    for (long token : tokens) {
      if (token < 0 || token >= vocabulary) {
        throw new InvalidInputException(
            String.format(
                "A %s has token id %d, outside the vocabulary of %d; was the text tokenised for"
                    + " another model?",
                name, token, vocabulary));
      }
    }
  }
}
