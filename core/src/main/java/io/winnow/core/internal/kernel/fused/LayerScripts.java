package io.winnow.core.internal.kernel.fused;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDArrays;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import ai.djl.pytorch.jni.IValue;
import io.winnow.core.internal.form.GroupedAttention;
import io.winnow.core.internal.form.GroupedAttention.QueryKeyNorm;
import io.winnow.core.internal.form.KernelConfig;
import io.winnow.core.internal.form.LatentAttention;
import io.winnow.core.internal.form.MixerPart;
import io.winnow.core.internal.kernel.Junction;
import io.winnow.core.internal.kernel.MixerWeights;
import io.winnow.core.internal.kernel.array.DeviceTensor;
import io.winnow.core.internal.kernel.array.TorchScriptModule;
import org.jspecify.annotations.Nullable;

/**
 * Makes the TorchScript objects that layers consist of. They hold views of the weights, and go with
 * the weights' manager.
 */
final class LayerScripts {
  private final TorchScriptModule module;
  private final KernelConfig config;
  private final IValue none;
  private final DeviceTensor least;

  /**
   * Creates it.
   *
   * @param none an empty list of tensors
   * @param least sqrt(hiddenSize epsilon)
   */
  LayerScripts(TorchScriptModule module, KernelConfig config, IValue none, DeviceTensor least) {
    this.module = module;
    this.config = config;
    this.none = none;
    this.least = least;
  }

  /** Returns the object of a junction. */
  IValue junction(Junction junction) {
    return junction.script(this::makeJunction);
  }

  private IValue makeJunction(Junction junction) {
    DeviceTensor norm = junction.before() == null ? junction.behind() : junction.before();
    if (norm == null) {
      throw new IllegalStateException("A block needs a norm, before or behind it");
    }
    NDManager owner = norm.rawArray().getManager();
    try (NDManager scratch = owner.newSubManager()) {
      Lists lists = new Lists(scratch);
      return own(
          owner,
          module.run(
              "junction",
              lists.of(junction.before()),
              lists.of(junction.behind()),
              least,
              config.layerNorm(),
              junction.factor()));
    }
  }

  /** Returns the object of a sequence mixer and its junction. */
  IValue block(MixerWeights weights) {
    return weights.script(this::makeBlock);
  }

  private IValue makeBlock(MixerWeights weights) {
    NDManager owner = weights.like().rawArray().getManager();
    // The object owns what it holds; arrays of Java are not needed any more.
    try (NDManager scratch = owner.newSubManager()) {
      Lists lists = new Lists(scratch);
      IValue mixer = own(scratch, mixer(lists, weights));
      return own(
          owner,
          module.run(
              "block",
              junction(weights.junction()),
              mixer,
              lists.transposed(weights.get(MixerPart.OUTPUT)),
              lists.of(weights.find(MixerPart.OUTPUT_BIAS))));
    }
  }

  private IValue mixer(Lists lists, MixerWeights weights) {
    if (weights.form() instanceof GroupedAttention form) {
      return form.isPlain() ? plain(lists, weights, form) : grouped(lists, weights, form);
    }
    if (weights.form() instanceof LatentAttention form) {
      return latent(lists, weights, form);
    }
    throw new IllegalStateException("There is no script of " + weights.form());
  }

  private IValue plain(Lists lists, MixerWeights weights, GroupedAttention form) {
    return module.run(
        "plain_attention",
        projections(lists, weights),
        (long) form.heads(),
        (long) form.keyValueHeads(),
        form.scale());
  }

  private static IValue projections(Lists lists, MixerWeights weights) {
    DeviceTensor all = weights.projections();
    return all == null
        ? lists.ofTransposed(
            weights.get(MixerPart.QUERY), weights.get(MixerPart.KEY), weights.get(MixerPart.VALUE))
        : lists.ofTransposed(all);
  }

  private IValue grouped(Lists lists, MixerWeights weights, GroupedAttention form) {
    QueryKeyNorm norm = form.norm();
    return module.run(
        "grouped_attention",
        projections(lists, weights),
        form.isBiased() ? lists.of(biases(lists, weights)) : none,
        norm == QueryKeyNorm.PROJECTION
            ? lists.of(weights.get(MixerPart.QUERY_NORM), weights.get(MixerPart.KEY_NORM))
            : none,
        norm == QueryKeyNorm.HEAD ? lists.of(headNorm(lists, weights, form)) : none,
        norm == QueryKeyNorm.ROTATED ? lists.of(lists.scratch.ones(new Shape(1))) : none,
        lists.of(weights.find(MixerPart.SINKS)),
        lists.ofTransposed(weights.find(MixerPart.GATE)),
        form.gate().isSoftplus(),
        (long) form.heads(),
        (long) form.keyValueHeads(),
        (long) form.valueSize(),
        (long) form.positions().rotarySize(),
        form.positions().isInterleaved(),
        form.scale(),
        config.epsilon(),
        form.clip());
  }

  private static NDArray biases(Lists lists, MixerWeights weights) {
    NDArray all =
        NDArrays.concat(
            new NDList(
                weights.get(MixerPart.QUERY_BIAS).array(),
                weights.get(MixerPart.KEY_BIAS).array(),
                weights.get(MixerPart.VALUE_BIAS).array()));
    all.attach(lists.scratch);
    return all;
  }

  /** Returns one weight for queries and keys, which lie behind each other. */
  private static NDArray headNorm(Lists lists, MixerWeights weights, GroupedAttention form) {
    int heads = form.heads() + form.keyValueHeads();
    NDArray queries =
        weights.get(MixerPart.QUERY_NORM).array().reshape(1, -1).repeat(0, form.heads());
    queries.attach(lists.scratch);
    NDArray keys =
        weights.get(MixerPart.KEY_NORM).array().reshape(1, -1).repeat(0, form.keyValueHeads());
    keys.attach(lists.scratch);
    return queries.concat(keys, 0).reshape(heads, 1, form.keySize());
  }

  private IValue latent(Lists lists, MixerWeights weights, LatentAttention form) {
    DeviceTensor up = weights.find(MixerPart.QUERY_UP);
    return module.run(
        "latent_attention",
        lists.transposed(weights.get(up == null ? MixerPart.QUERY : MixerPart.QUERY_DOWN)),
        lists.of(weights.find(MixerPart.QUERY_DOWN_BIAS)),
        lists.of(weights.find(MixerPart.QUERY_DOWN_NORM)),
        lists.ofTransposed(up),
        lists.transposed(weights.get(MixerPart.LATENT)),
        lists.of(weights.find(MixerPart.LATENT_BIAS)),
        weights.get(MixerPart.LATENT_NORM),
        lists.transposed(weights.get(MixerPart.LATENT_UP)),
        (long) form.heads(),
        (long) form.plainSize(),
        (long) form.rotarySize(),
        (long) form.valueSize(),
        form.positions().isInterleaved(),
        form.scale(),
        form.epsilon());
  }

  private static IValue own(NDManager manager, IValue value) {
    manager.attachInternal(value.getUid(), value);
    return value;
  }

  /** Makes lists and views that last as long as a manager. */
  private final class Lists {
    private final NDManager scratch;

    Lists(NDManager scratch) {
      this.scratch = scratch;
    }

    IValue of(@Nullable DeviceTensor tensor) {
      return tensor == null ? none : own(scratch, DeviceTensor.list(tensor));
    }

    IValue of(DeviceTensor first, DeviceTensor second) {
      return own(scratch, DeviceTensor.list(first, second));
    }

    IValue of(NDArray array) {
      return of(DeviceTensor.borrowing(array));
    }

    DeviceTensor transposed(DeviceTensor matrix) {
      return matrix.transposed(scratch);
    }

    IValue ofTransposed(@Nullable DeviceTensor matrix) {
      return matrix == null ? none : of(transposed(matrix));
    }

    IValue ofTransposed(DeviceTensor first, DeviceTensor second, DeviceTensor third) {
      return own(
          scratch, DeviceTensor.list(transposed(first), transposed(second), transposed(third)));
    }
  }
}
