package io.winnow.core.internal.kernel.reference;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDArrays;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.index.NDIndex;
import ai.djl.ndarray.types.Shape;
import ai.djl.nn.Activation;
import io.winnow.core.RoutingDecision;
import io.winnow.core.internal.kernel.ExpertBatches;
import io.winnow.core.internal.kernel.ExpertMix;
import io.winnow.core.internal.kernel.ExpertWeights;
import io.winnow.core.internal.kernel.array.DeviceTensor;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/** Experts, and their weighted outputs for tokens. */
final class ReferenceExperts {
  private ReferenceExperts() {}

  static NDArray routedSum(
      NDManager manager,
      NDArray x,
      ExpertMix mix,
      RoutingDecision decision,
      @Nullable NDArray routingWeights) {
    ExpertWeights weights = mix.weights();
    ExpertBatches batches = ExpertBatches.of(mix, 1);
    NDArray tokens = ReferenceArrays.kept(manager, manager.create(batches.tokens()));
    NDArray gathered = x.get(tokens);
    float[] inputs = batches.inputs();
    if (inputs != null) {
      gathered = gathered.mul(ReferenceArrays.kept(manager, manager.create(inputs)).expandDims(1));
    }
    NDList outputs = new NDList();
    for (int i = 0; i < batches.experts().length; i++) {
      NDArray rows =
          gathered.get(new NDIndex().addSliceDim(batches.starts()[i], batches.starts()[i + 1]));
      outputs.add(feedForward(rows, weights, (int) batches.experts()[i]));
    }
    NDArray factors =
        routingWeights == null
            ? manager.create(batches.weights())
            : routingWeights
                .flatten()
                .get(
                    ReferenceArrays.kept(
                        manager, manager.create(places(batches, decision.topK()))));
    NDArray pairs = NDArrays.concat(outputs, 0).mul(factors.expandDims(1));
    return sumByToken(manager, pairs, batches, decision, x.getShape());
  }

  /** Where the weight of each pair stands in the row-major {@code [tokens, topK]}. */
  private static long[] places(ExpertBatches batches, int topK) {
    long[] places = new long[batches.tokens().length];
    for (int pair = 0; pair < places.length; pair++) {
      places[pair] = batches.tokens()[pair] * topK + batches.ranks()[pair];
    }
    return places;
  }

  /** Gathers each token's pairs by rank (a row of zeros where there is none) and adds them up. */
  private static NDArray sumByToken(
      NDManager manager,
      NDArray pairs,
      ExpertBatches batches,
      RoutingDecision decision,
      Shape shape) {
    int zeros = batches.tokens().length;
    int topK = decision.topK();
    long[] pairOf = new long[decision.tokens() * topK];
    Arrays.fill(pairOf, zeros);
    long[] places = places(batches, topK);
    for (int pair = 0; pair < places.length; pair++) {
      pairOf[(int) places[pair]] = pair;
    }
    NDArray padded = pairs.concat(manager.zeros(new Shape(1, shape.get(1))), 0);
    return padded
        .get(ReferenceArrays.kept(manager, manager.create(pairOf)))
        .reshape(decision.tokens(), topK, shape.get(1))
        .sum(new int[] {1});
  }

  static NDArray feedForward(NDArray x, ExpertWeights weights, int expert) {
    NDArray output =
        ReferenceArrays.linear(activate(x, weights, expert), weights.down().get(expert));
    DeviceTensor up = weights.up().get(expert);
    if (up.shape().dimension() == 2) {
      return output;
    }
    long width = weights.gate().get(expert).shape().get(0);
    return output.add(up.array().flatten().get(new NDIndex("{}:", width)));
  }

  /** What an expert's last product multiplies. */
  static NDArray activate(NDArray x, ExpertWeights weights, int expert) {
    // Not Activation.swish, which multiplies by a number of Java.
    NDArray linear = ReferenceArrays.linear(x, weights.gate().get(expert));
    DeviceTensor up = weights.up().get(expert);
    if (up.shape().dimension() == 1) {
      return clamped(linear, up.array());
    }
    if (up.shape().dimension() == 3) {
      return biasedActivation(linear, up.array().flatten());
    }
    NDArray gate = Activation.sigmoid(linear).mul(linear);
    return gate.mul(ReferenceArrays.linear(x, up));
  }

  /** The same of a dense or shared expert with biases. */
  private static NDArray biasedActivation(NDArray gateAndUp, NDArray biases) {
    long width = gateAndUp.getShape().get(1);
    NDList halves = gateAndUp.add(biases.get(new NDIndex(":{}", width))).split(2, 1);
    NDArray gate = halves.get(0);
    return gate.mul(Activation.sigmoid(gate)).mul(halves.get(1));
  }

  /** The same of an expert of gpt-oss. */
  private static NDArray clamped(NDArray gateAndUp, NDArray biases) {
    long width = gateAndUp.getShape().get(1);
    NDArray pairs = gateAndUp.add(biases.get(new NDIndex(":{}", width))).reshape(-1, width / 2, 2);
    NDArray gate = pairs.get(new NDIndex("..., 0")).minimum(7f);
    NDArray up = pairs.get(new NDIndex("..., 1")).clip(-7f, 7f).add(1f);
    return gate.mul(Activation.sigmoid(gate.mul(1.702f))).mul(up);
  }
}
