package io.winnow.core.internal.kernel.reference;

import static io.winnow.core.internal.kernel.reference.ReferenceArrays.attach;
import static io.winnow.core.internal.kernel.reference.ReferenceArrays.biased;
import static io.winnow.core.internal.kernel.reference.ReferenceArrays.kept;
import static io.winnow.core.internal.kernel.reference.ReferenceArrays.linear;
import static io.winnow.core.internal.kernel.reference.ReferenceArrays.rootMeanSquare;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.index.NDIndex;
import ai.djl.ndarray.types.Shape;
import ai.djl.nn.Activation;
import io.winnow.core.internal.form.GroupedAttention;
import io.winnow.core.internal.form.GroupedAttention.Gate;
import io.winnow.core.internal.form.GroupedAttention.QueryKeyNorm;
import io.winnow.core.internal.form.LatentAttention;
import io.winnow.core.internal.form.MixerPart;
import io.winnow.core.internal.kernel.LayerState;
import io.winnow.core.internal.kernel.MixerWeights;
import io.winnow.core.internal.kernel.array.DeviceTensor;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** One layer's attention of one pass: of the block's input, what its output projection takes. */
final class ReferenceAttention {
  private final NDManager manager;
  private final MixerWeights weights;
  private final ReferenceContext context;
  private final ReferenceContext.Positions positions;
  private final @Nullable LayerState state;
  private final double epsilon;

  /**
   * Creates it.
   *
   * @param epsilon of the norms of queries and keys
   */
  ReferenceAttention(
      NDManager manager,
      MixerWeights weights,
      ReferenceContext context,
      @Nullable LayerState state,
      double epsilon) {
    this.manager = manager;
    this.weights = weights;
    this.context = context;
    this.state = state;
    this.epsilon = epsilon;
    positions = context.of(weights.form());
  }

  /** Computes it: {@code [sequences * tokens, hiddenSize]} to {@code [sequences * tokens, in]}. */
  NDArray mix(NDArray x) {
    if (weights.form() instanceof GroupedAttention form) {
      return grouped(x, form);
    }
    if (weights.form() instanceof LatentAttention form) {
      return latent(x, form);
    }
    throw new IllegalStateException("The reference has no " + weights.form());
  }

  private NDArray projected(NDArray x, MixerPart part, MixerPart bias) {
    return biased(linear(x, weights.get(part)), weights.find(bias));
  }

  private NDArray grouped(NDArray x, GroupedAttention form) {
    NDArray query = projected(x, MixerPart.QUERY, MixerPart.QUERY_BIAS);
    NDArray key = projected(x, MixerPart.KEY, MixerPart.KEY_BIAS);
    NDArray value = projected(x, MixerPart.VALUE, MixerPart.VALUE_BIAS);
    if (form.norm() == QueryKeyNorm.PROJECTION) {
      query = rootMeanSquare(query, weights.get(MixerPart.QUERY_NORM), epsilon);
      key = rootMeanSquare(key, weights.get(MixerPart.KEY_NORM), epsilon);
    }
    if (form.clip() > 0) {
      query = query.clip(-form.clip(), form.clip());
      key = key.clip(-form.clip(), form.clip());
      value = value.clip(-form.clip(), form.clip());
    }
    query = heads(query, form.heads());
    key = heads(key, form.keyValueHeads());
    value = heads(value, form.keyValueHeads());
    if (form.norm() == QueryKeyNorm.HEAD) {
      query = rootMeanSquare(query, weights.get(MixerPart.QUERY_NORM), epsilon);
      key = rootMeanSquare(key, weights.get(MixerPart.KEY_NORM), epsilon);
    }
    query = rotate(query);
    key = rotate(key);
    if (form.norm() == QueryKeyNorm.ROTATED) {
      query = rootMeanSquare(query, null, epsilon);
      key = rootMeanSquare(key, null, epsilon);
    }
    if (positions.growth() != null) {
      query = query.mul(positions.growth());
    }
    NDList seen = remembered(key, value);
    int groups = form.heads() / form.keyValueHeads();
    NDArray scores = scores(query, repeatHeads(seen.get(0), groups), form.scale());
    DeviceTensor sinks = weights.find(MixerPart.SINKS);
    NDArray shares = sinks == null ? scores.softmax(-1) : sharesBesideSinks(scores, sinks);
    return joined(gated(shares.matMul(repeatHeads(seen.get(1), groups)), x, form.gate()));
  }

  private NDArray sharesBesideSinks(NDArray scores, DeviceTensor sinks) {
    Shape shape = scores.getShape();
    NDArray column =
        sinks
            .array()
            .reshape(1, shape.get(1), 1, 1)
            .broadcast(shape.get(0), shape.get(1), shape.get(2), 1);
    return attach(manager, scores.concat(attach(manager, column), -1).softmax(-1))
        .get(new NDIndex("..., :{}", shape.get(3)));
  }

  private NDArray gated(NDArray outputs, NDArray x, Gate gate) {
    if (gate == Gate.NONE) {
      return outputs;
    }
    NDArray logits = heads(linear(x, weights.get(MixerPart.GATE)), (int) outputs.getShape().get(1));
    return outputs.mul(
        gate.isSoftplus() ? Activation.softPlus(logits) : Activation.sigmoid(logits));
  }

  private NDArray latent(NDArray x, LatentAttention form) {
    NDArray query;
    if (form.queryRank() == 0) {
      query = linear(x, weights.get(MixerPart.QUERY));
    } else {
      NDArray down = projected(x, MixerPart.QUERY_DOWN, MixerPart.QUERY_DOWN_BIAS);
      query =
          linear(
              rootMeanSquare(down, weights.get(MixerPart.QUERY_DOWN_NORM), form.epsilon()),
              weights.get(MixerPart.QUERY_UP));
    }
    query = heads(query, form.heads());
    NDArray plain = query.get(new NDIndex("..., :{}", form.plainSize()));
    NDArray rotated = rotate(query.get(new NDIndex("..., {}:", form.plainSize())));
    query = plain.concat(rotated, -1);
    NDArray down = projected(x, MixerPart.LATENT, MixerPart.LATENT_BIAS);
    NDArray latent =
        rootMeanSquare(
            down.get(new NDIndex("..., :{}", form.rank())),
            weights.get(MixerPart.LATENT_NORM),
            form.epsilon());
    NDArray key = heads(down.get(new NDIndex("..., {}:", form.rank())), 1);
    NDList seen = remembered(rotate(key), heads(latent, 1));
    NDArray both = linear(seen.get(1).squeeze(1), weights.get(MixerPart.LATENT_UP));
    both =
        both.reshape(
                both.getShape().get(0),
                both.getShape().get(1),
                form.heads(),
                (long) form.plainSize() + form.valueSize())
            .transpose(0, 2, 1, 3);
    NDArray keys =
        both.get(new NDIndex("..., :{}", form.plainSize()))
            .concat(seen.get(0).repeat(1, form.heads()), -1);
    NDArray values = both.get(new NDIndex("..., {}:", form.plainSize()));
    return joined(scores(query, keys, form.scale()).softmax(-1).matMul(values));
  }

  /** Adds to the state and returns the keys and values of all tokens. */
  private NDList remembered(NDArray key, NDArray value) {
    if (state == null) {
      return new NDList(key, value);
    }
    NDArray allKeys = key;
    NDArray allValues = value;
    List<DeviceTensor> tensors = state.tensors();
    if (!tensors.isEmpty()) {
      // Results belong to their first operand's manager, here the cache's.
      allKeys = attach(manager, tensors.get(0).array().concat(key, 2));
      allValues = attach(manager, tensors.get(1).array().concat(value, 2));
    }
    state.set(
        List.of(
            DeviceTensor.owning(allKeys.duplicate()), DeviceTensor.owning(allValues.duplicate())));
    return new NDList(allKeys, allValues);
  }

  private NDArray scores(NDArray query, NDArray key, double scale) {
    NDArray scores =
        query.matMul(key.transpose(0, 1, 3, 2)).mul(kept(manager, manager.create((float) scale)));
    return positions.mask() == null ? scores : scores.add(positions.mask());
  }

  /** Returns heads behind each other: {@code [sequences * tokens, heads * size]}. */
  private static NDArray joined(NDArray heads) {
    Shape shape = heads.getShape();
    return heads.transpose(0, 2, 1, 3).reshape(shape.get(0) * shape.get(2), -1);
  }

  private NDArray heads(NDArray x, int heads) {
    return x.reshape(context.sequences(), context.tokens(), heads, -1).transpose(0, 2, 1, 3);
  }

  private static NDArray repeatHeads(NDArray x, int times) {
    return times == 1 ? x : x.repeat(1, times);
  }

  private NDArray rotate(NDArray x) {
    NDArray cos = positions.cos();
    NDArray sin = positions.sin();
    if (cos == null || sin == null) {
      return x;
    }
    int size = weights.form().positions().rotarySize();
    NDArray part = x.get(new NDIndex("..., :{}", size));
    NDArray turned;
    if (weights.form().positions().isInterleaved()) {
      NDArray pairs = part.reshape(part.getShape().slice(0, 3).add(size / 2, 2));
      NDArray first = pairs.get(new NDIndex("..., :1"));
      NDArray second = pairs.get(new NDIndex("..., 1:"));
      turned = second.neg().concat(first, -1).reshape(part.getShape());
    } else {
      NDArray first = part.get(new NDIndex("..., :{}", size / 2));
      NDArray second = part.get(new NDIndex("..., {}:", size / 2));
      turned = second.neg().concat(first, -1);
    }
    NDArray rotated = part.mul(cos).add(turned.mul(sin));
    return size == x.getShape().get(3)
        ? rotated
        : rotated.concat(x.get(new NDIndex("..., {}:", size)), -1);
  }
}
