package io.winnow.core.internal.scoring;

import ai.djl.Model;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.training.ParameterStore;
import com.google.common.primitives.Longs;
import io.winnow.core.MoeModel;
import io.winnow.core.internal.environment.Interruption;
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

  @Override
  public void score(List<Continuations> units, Sink sink, Consumer<Integer> batchDone) {
    List<RowBatch.Row> rows = new ArrayList<>();
    for (int unit = 0; unit < units.size(); unit++) {
      long[] context = units.get(unit).context();
      List<long[]> continuations = units.get(unit).continuations();
      for (int i = 0; i < continuations.size(); i++) {
        rows.add(
            new RowBatch.Row(
                0, unit, i, context.length, Longs.concat(context, continuations.get(i))));
      }
    }
    rows.sort(Comparator.comparingInt(row -> -row.width()));
    int from = 0;
    int unitsDone = 0;
    while (from < rows.size()) {
      Interruption.check("The evaluation was interrupted");
      int most = TargetLikelihoods.maxSequences(rows.get(from).width(), vocabulary);
      int to = Math.min(rows.size(), from + Math.min(batch, most));
      scoreBatch(rows.subList(from, to), sink);
      int done = (int) ((long) to * units.size() / rows.size());
      batchDone.accept(done - unitsDone);
      unitsDone = done;
      from = to;
    }
  }

  private void scoreBatch(List<RowBatch.Row> rows, Sink sink) {
    RowBatch pass = new RowBatch(rows);
    try (NDManager manager = model.getNDManager().newSubManager()) {
      NDList output =
          model
              .getBlock()
              .forward(new ParameterStore(manager, false), new NDList(pass.ids(manager)), false);
      pass.score(output.singletonOrThrow(), sink);
    }
  }
}
