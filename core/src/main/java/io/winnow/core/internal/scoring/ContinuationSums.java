package io.winnow.core.internal.scoring;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** Adds up the tokens of every continuation of several groups. */
public final class ContinuationSums {
  private final List<double[]> logLikelihoods = new ArrayList<>();
  private final List<boolean[]> greedy = new ArrayList<>();

  ContinuationSums(List<Continuations> groups) {
    for (Continuations group : groups) {
      int count = group.continuations().size();
      logLikelihoods.add(new double[count]);
      boolean[] all = new boolean[count];
      Arrays.fill(all, true);
      greedy.add(all);
    }
  }

  void add(int group, int continuation, float logLikelihood, boolean best) {
    logLikelihoods.get(group)[continuation] += logLikelihood;
    greedy.get(group)[continuation] &= best;
  }

  /** Returns the sum over a continuation's tokens, in nats. */
  public double logLikelihood(int group, int continuation) {
    return logLikelihoods.get(group)[continuation];
  }

  /** Returns whether every token of a continuation is the likeliest. */
  public boolean isGreedy(int group, int continuation) {
    return greedy.get(group)[continuation];
  }
}
