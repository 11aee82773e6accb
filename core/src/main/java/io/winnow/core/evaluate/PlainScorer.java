package io.winnow.core.evaluate;

import ai.djl.Model;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import ai.djl.training.ParameterStore;
import com.google.common.primitives.Longs;
import io.winnow.core.MoeModel;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.function.Consumer;

/**
 * Scores continuations by a model that only turns whole sequences into logits: each context is
 * computed again for each of its continuations.
 */
final class PlainScorer implements ContinuationScorer {
  private final Model model;
  private final int vocabulary;
  private final int batch;

  PlainScorer(Model model, int batch) {
    this.model = model;
    this.batch = batch;
    vocabulary = MoeModel.of(model).vocabularySize();
  }

  /** A context with one of its continuations behind it. */
  private record Row(int unit, int continuation, int start, long[] tokens) {}

  @Override
  public void score(List<Continuations> units, Sink sink, Consumer<Integer> batchDone) {
    List<Row> rows = new ArrayList<>();
    for (int unit = 0; unit < units.size(); unit++) {
      long[] context = units.get(unit).context();
      List<long[]> continuations = units.get(unit).continuations();
      for (int i = 0; i < continuations.size(); i++) {
        rows.add(new Row(unit, i, context.length, Longs.concat(context, continuations.get(i))));
      }
    }
    rows.sort(Comparator.comparingInt(row -> -row.tokens().length));
    int from = 0;
    int unitsDone = 0;
    while (from < rows.size()) {
      Evaluator.checkInterrupt();
      int most = TargetLikelihoods.maxSequences(rows.get(from).tokens().length - 1, vocabulary);
      int to = Math.min(rows.size(), from + Math.min(batch, most));
      scoreBatch(rows.subList(from, to), sink);
      int done = (int) ((long) to * units.size() / rows.size());
      batchDone.accept(done - unitsDone);
      unitsDone = done;
      from = to;
    }
  }

  private void scoreBatch(List<Row> rows, Sink sink) {
    int width = rows.get(0).tokens().length - 1;
    long[] input = new long[rows.size() * width];
    long[] targets = new long[input.length];
    for (int i = 0; i < rows.size(); i++) {
      long[] tokens = rows.get(i).tokens();
      // Nothing before it looks at the padding on the right.
      System.arraycopy(tokens, 0, input, i * width, tokens.length - 1);
      System.arraycopy(tokens, 1, targets, i * width, tokens.length - 1);
    }
    TargetLikelihoods result;
    try (NDManager manager = model.getNDManager().newSubManager()) {
      var ids = manager.create(input, new Shape(rows.size(), width));
      result =
          TargetLikelihoods.of(
              model
                  .getBlock()
                  .forward(new ParameterStore(manager, false), new NDList(ids), false)
                  .singletonOrThrow(),
              targets);
    }
    for (int i = 0; i < rows.size(); i++) {
      Row row = rows.get(i);
      for (int at = row.start() - 1; at < row.tokens().length - 1; at++) {
        int index = i * width + at;
        sink.accept(
            row.unit(), row.continuation(), result.logLikelihoods()[index], result.best()[index]);
      }
    }
  }
}
