package io.winnow.core.internal.scoring;

import ai.djl.Model;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import io.winnow.core.LanguageModel;
import io.winnow.core.TokenCache;
import io.winnow.core.internal.environment.Interruption;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/**
 * Scores continuations with a key/value cache: what all contexts begin with is computed once, each
 * context is computed once for all its continuations, and the contexts of a batch together.
 */
final class CachedScorer implements ContinuationScorer {
  /** Fewer sequences are worth no pass of their own, which reads all weights. */
  private static final int LEAST_ROWS = 16;

  private final Model model;
  private final LanguageModel languageModel;
  private final int batch;

  CachedScorer(Model model, LanguageModel languageModel, int batch) {
    this.model = model;
    this.languageModel = languageModel;
    this.batch = batch;
  }

  @Override
  public void score(List<Continuations> units, Sink sink, Consumer<Integer> batchDone) {
    int shared = SharedPrefix.length(units.stream().map(Continuations::context).toList());
    // Contexts of about the same length have little padding.
    List<Integer> order = new ArrayList<>();
    for (int i = 0; i < units.size(); i++) {
      order.add(i);
    }
    order.sort(Comparator.comparingInt(i -> units.get(i).context().length));
    TokenCache prefix = null;
    try {
      if (shared > 0) {
        prefix = languageModel.newCache(0);
        next(Arrays.copyOf(units.get(0).context(), shared), 1, prefix);
      }
      int from = 0;
      while (from < order.size()) {
        Interruption.check("The evaluation was interrupted");
        int to = batchEnd(units, order, from);
        scoreBatch(units, order.subList(from, to), prefix, shared, sink);
        batchDone.accept(to - from);
        from = to;
      }
    } finally {
      if (prefix != null) {
        prefix.close();
      }
    }
  }

  /** A batch ends early where its padding would not leave room for its longest continuation. */
  private int batchEnd(List<Continuations> units, List<Integer> order, int from) {
    int longest = 0;
    int to = from;
    while (to < order.size() && to - from < batch) {
      Continuations unit = units.get(order.get(to));
      longest = Math.max(longest, unit.longest() - 1);
      if (to > from && unit.context().length + longest > languageModel.maxPositions()) {
        break;
      }
      to++;
    }
    return to;
  }

  private void scoreBatch(
      List<Continuations> units,
      List<Integer> batchUnits,
      @Nullable TokenCache prefix,
      int shared,
      Sink sink) {
    int rows = batchUnits.size();
    int width = units.get(batchUnits.get(rows - 1)).context().length - shared;
    long[] input = new long[rows * width];
    long[] padding = new long[rows];
    for (int row = 0; row < rows; row++) {
      long[] context = units.get(batchUnits.get(row)).context();
      int own = context.length - shared;
      padding[row] = width - own;
      System.arraycopy(context, shared, input, row * width + width - own, own);
    }
    try (TokenCache contexts =
        prefix == null
            ? languageModel.newCache(padding)
            : languageModel.expand(prefix, new int[rows], width, padding)) {
      scoreFirstTokens(units, batchUnits, input, contexts, sink);
      List<RowBatch.Row> rest = new ArrayList<>();
      for (int source = 0; source < rows; source++) {
        List<long[]> continuations = units.get(batchUnits.get(source)).continuations();
        for (int i = 0; i < continuations.size(); i++) {
          if (continuations.get(i).length > 1) {
            rest.add(new RowBatch.Row(source, batchUnits.get(source), i, 1, continuations.get(i)));
          }
        }
      }
      rest.sort(Comparator.comparingInt(row -> -row.width()));
      int from = 0;
      while (from < rest.size()) {
        int to = passEnd(rest, from);
        scoreRest(rest.subList(from, to), contexts, sink);
        from = to;
      }
    }
  }

  /**
   * Returns where a pass over continuations, the longest of them first, ends: where their logits
   * become too many, or more than a quarter of a shorter one would be padding.
   */
  private int passEnd(List<RowBatch.Row> rows, int from) {
    int longest = rows.get(from).width();
    int most = from + TargetLikelihoods.maxSequences(longest, languageModel.vocabularySize());
    int to = from + 1;
    while (to < Math.min(rows.size(), most)
        && (to - from < LEAST_ROWS || 4 * rows.get(to).width() >= 3 * longest)) {
      to++;
    }
    return to;
  }

  private void scoreFirstTokens(
      List<Continuations> units,
      List<Integer> batchUnits,
      long[] input,
      TokenCache contexts,
      Sink sink) {
    // All continuations of a context start at the same logits.
    int most =
        batchUnits.stream()
            .mapToInt(unit -> units.get(unit).continuations().size())
            .max()
            .orElse(0);
    int rows = batchUnits.size();
    try (NDManager manager = model.getNDManager().newSubManager()) {
      var ids = manager.create(input, new Shape(rows, input.length / rows));
      var logits = languageModel.next(ids, contexts);
      for (int i = 0; i < most; i++) {
        long[] targets = new long[rows];
        for (int row = 0; row < rows; row++) {
          List<long[]> continuations = units.get(batchUnits.get(row)).continuations();
          targets[row] = i < continuations.size() ? continuations.get(i)[0] : 0;
        }
        TargetLikelihoods result = TargetLikelihoods.of(logits.duplicate(), targets);
        for (int row = 0; row < rows; row++) {
          if (i < units.get(batchUnits.get(row)).continuations().size()) {
            sink.accept(batchUnits.get(row), i, result.logLikelihoods()[row], result.best()[row]);
          }
        }
      }
    }
  }

  private void scoreRest(List<RowBatch.Row> rows, TokenCache contexts, Sink sink) {
    RowBatch pass = new RowBatch(rows);
    int[] sources = rows.stream().mapToInt(RowBatch.Row::source).toArray();
    try (TokenCache cache = languageModel.expand(contexts, sources, pass.width());
        NDManager manager = model.getNDManager().newSubManager()) {
      pass.score(languageModel.next(pass.ids(manager), cache, pass.width()), sink);
    }
  }

  private void next(long[] tokens, int sequences, TokenCache cache) {
    try (NDManager manager = model.getNDManager().newSubManager()) {
      var unused =
          languageModel.next(
              manager.create(tokens, new Shape(sequences, tokens.length / sequences)), cache);
    }
  }
}
