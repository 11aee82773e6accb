package io.winnow.examples.bench.pruning;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.index.NDIndex;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import io.winnow.core.ForwardObserver;
import io.winnow.core.MoeLayerView;
import io.winnow.core.MoeModel;
import io.winnow.core.RoutingDecision;
import io.winnow.core.TokenSequences;
import io.winnow.pruning.SubsetLoss;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.CancellationException;

/** The released code's way: mask the gate, run the layer, compare its output, for every subset. */
final class SubsetRuns {
  private final MoeModel model;
  private final MoeLayerView layer;
  private final int retain;
  private SubsetLoss best = new SubsetLoss(List.of(), Double.NaN);

  SubsetRuns(MoeModel model, int retain) {
    this.model = model;
    this.layer = model.moeLayers().get(0);
    this.retain = retain;
  }

  SubsetLoss best(TokenSequences sequences) {
    model.forward(
        sequences,
        new ForwardObserver() {
          @Override
          public boolean onInput(MoeLayerView seen, NDArray hidden) {
            best = best(hidden);
            return false;
          }
        });
    return best;
  }

  private SubsetLoss best(NDArray hidden) {
    try (NDManager scratch = hidden.getManager().newSubManager()) {
      NDArray logits = layer.routerLogits(hidden);
      logits.attach(scratch);
      NDArray original = output(scratch, hidden, logits, List.of());
      List<SubsetLoss> losses = new ArrayList<>();
      for (List<Integer> dropped : subsets(layer.numExperts() - retain, 0, List.of())) {
        if (Thread.currentThread().isInterrupted()) {
          throw new CancellationException("The benchmark was interrupted");
        }
        try (NDManager run = scratch.newSubManager()) {
          NDArray output = output(run, hidden, logits, dropped);
          NDArray change = output.sub(original).toType(DataType.FLOAT64, false);
          change.attach(run);
          double norm = Math.sqrt(change.square().sum().toDoubleArray()[0]);
          losses.add(new SubsetLoss(dropped, norm));
        }
      }
      return Collections.min(losses);
    }
  }

  private List<List<Integer>> subsets(int size, int from, List<Integer> chosen) {
    if (size == 0) {
      return List.of(chosen);
    }
    List<List<Integer>> all = new ArrayList<>();
    for (int expert = from; expert <= layer.numExperts() - size; expert++) {
      List<Integer> more = new ArrayList<>(chosen);
      more.add(expert);
      all.addAll(subsets(size - 1, expert + 1, more));
    }
    return all;
  }

  /** One run of the layer: each expert computes the tokens that select it. */
  private NDArray output(NDManager result, NDArray hidden, NDArray logits, List<Integer> dropped) {
    int tokens = (int) hidden.getShape().get(0);
    int count = layer.numExperts();
    float[] values = logits.toFloatArray();
    for (int token = 0; token < tokens; token++) {
      for (int expert : dropped) {
        values[token * count + expert] = -1e30f;
      }
    }
    RoutingDecision decision = layer.routing().route(values, count);
    NDArray output = result.zeros(new Shape(tokens, hidden.getShape().get(1)));
    for (int expert = 0; expert < count; expert++) {
      List<Long> rows = new ArrayList<>();
      List<Float> weights = new ArrayList<>();
      for (int token = 0; token < tokens; token++) {
        for (int rank = 0; rank < decision.topK(); rank++) {
          if (decision.expert(token, rank) == expert) {
            rows.add((long) token);
            weights.add(decision.weight(token, rank));
          }
        }
      }
      if (!rows.isEmpty()) {
        try (NDManager scratch = result.newSubManager()) {
          NDArray index = scratch.create(rows.stream().mapToLong(Long::longValue).toArray());
          float[] factors = new float[rows.size()];
          for (int i = 0; i < factors.length; i++) {
            factors[i] = weights.get(i);
          }
          NDArray input = hidden.get(index);
          input.attach(scratch);
          NDArray part = layer.expertOutput(expert, input);
          part.attach(scratch);
          part.muli(scratch.create(factors, new Shape(factors.length, 1)));
          NDArray sum = output.get(index).addi(part);
          sum.attach(scratch);
          output.set(new NDIndex("{}", index), sum);
        }
      }
    }
    return output;
  }
}
