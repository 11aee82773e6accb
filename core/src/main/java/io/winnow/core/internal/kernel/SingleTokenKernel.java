package io.winnow.core.internal.kernel;

import ai.djl.Device;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import io.winnow.core.internal.form.AttentionConfig;
import io.winnow.core.internal.form.AttentionPart;
import io.winnow.core.internal.form.KernelConfig;
import io.winnow.core.internal.kernel.array.ArrayMath;
import io.winnow.core.internal.kernel.array.DeviceTensor;
import io.winnow.core.internal.kernel.array.TensorList;
import java.util.Arrays;
import java.util.Collection;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * The decoder's operations for one token of a small model on the CPU, in plain Java on arrays:
 * PyTorch takes longer to dispatch such an operation than to compute it.
 *
 * <p>Weights are copied on first use, and computed with in float32 whatever their type is. The
 * cache of keys and values is that of the fused kernel, which computes all that is not a step of a
 * single token. For inference only. Thread-safe. Not part of the API.
 */
public final class SingleTokenKernel implements Kernel {
  private final FusedKernel fused;
  private final KernelConfig config;

  /**
   * Creates a kernel.
   *
   * @param fused computes everything else
   */
  public SingleTokenKernel(FusedKernel fused, KernelConfig config) {
    this.fused = fused;
    this.config = config;
  }

  /**
   * Returns whether it computes a decoder's norms, in a type and on a device; of the layers, {@link
   * AttentionWeights#isPlain} and {@link ExpertWeights#isPlain} say it.
   */
  public static boolean supports(Device device, DataType type, KernelConfig config) {
    return !device.isGpu()
        && (type == DataType.FLOAT32 || type == DataType.BFLOAT16)
        && !config.layerNorm();
  }

  @Override
  public Residual embed(NDManager manager, DeviceTensor table, NDArray ids) {
    int size = config.hiddenSize();
    float[] row = new float[size];
    table.elements().read((int) ids.toLongArray()[0] * size, row);
    if (config.embeddingFactor() != 1) {
      for (int i = 0; i < size; i++) {
        row[i] *= (float) config.embeddingFactor();
      }
    }
    return new Residual(row);
  }

  @Override
  public AttentionContext prepare(
      NDManager manager,
      Collection<AttentionConfig> layers,
      RotaryTable table,
      AttentionConfig.@Nullable Temperature temperature,
      int tokens,
      int past,
      long[] padding,
      int paddingStart) {
    return AttentionContext.ofToken(past, table.row(fused.module(), past));
  }

  @Override
  public RoutedResidual attendAndRoute(
      NDManager manager,
      Residual residual,
      LayerWeights weights,
      AttentionContext context,
      KeyValueCache.@Nullable Layer cache) {
    if (cache == null) {
      throw new IllegalStateException("A single token needs the cache of those before it");
    }
    AttentionWeights attention = weights.attention();
    float[] hidden = residual.values();
    float[] x = normalize(hidden, attention.get(AttentionPart.NORM));
    float[] queries = multiply(x, attention.get(AttentionPart.QUERY));
    float[] keys = multiply(x, attention.get(AttentionPart.KEY));
    float[] values = multiply(x, attention.get(AttentionPart.VALUE));
    AttentionConfig form = attention.config();
    rotate(queries, form.headSize(), context.rotaryRow());
    rotate(keys, form.headSize(), context.rotaryRow());
    ArrayCache seen = cache.arrays(form);
    seen.append(context.past(), keys, values);
    float[] attended = attend(queries, form, seen, context.past());
    add(hidden, multiply(attended, attention.get(AttentionPart.OUTPUT)), config.residualFactor());
    float[] input = normalize(hidden, weights.moeNorm());
    return new RoutedValues(hidden, input, multiply(input, weights.gate()));
  }

  private float[] attend(float[] queries, AttentionConfig form, ArrayCache seen, int position) {
    int size = form.headSize();
    int groups = form.heads() / form.keyValueHeads();
    int first = form.visibility().first(position);
    int count = position + 1 - first;
    float[] attended = new float[queries.length];
    float[] scores = new float[seen.capacity()];
    float[] query = new float[size];
    float[] sum = new float[size];
    for (int head = 0; head < form.heads(); head++) {
      for (int i = 0; i < size; i++) {
        query[i] = (float) form.scale() * queries[head * size + i];
        sum[i] = 0;
      }
      Arrays.fill(scores, 0, position + 1, 0);
      ArrayMath.addRows(scores, position + 1, query, 0, seen.keys(head / groups), 0, size);
      float greatest = Float.NEGATIVE_INFINITY;
      for (int i = first; i <= position; i++) {
        greatest = Math.max(greatest, scores[i]);
      }
      float total = 0;
      for (int i = first; i <= position; i++) {
        scores[i] = ArrayMath.exp(scores[i] - greatest);
        total += scores[i];
      }
      ArrayMath.addRows(sum, size, scores, first, seen.values(head / groups), first, count);
      for (int i = 0; i < size; i++) {
        attended[head * size + i] = sum[i] / total;
      }
    }
    return attended;
  }

  /** The row holds cosines, then sines with the sign of the element they are for. */
  private static void rotate(float[] heads, int size, float[] row) {
    int half = size / 2;
    for (int head = 0; head < heads.length; head += size) {
      for (int i = 0; i < half; i++) {
        float first = heads[head + i];
        float second = heads[head + half + i];
        heads[head + i] = first * row[i] + second * row[size + i];
        heads[head + half + i] = second * row[half + i] + first * row[size + half + i];
      }
    }
  }

  @Override
  public Residual mixLater(NDManager manager, RoutedResidual routed, ExpertMix mix) {
    RoutedValues values = (RoutedValues) routed;
    ExpertBatches batches = ExpertBatches.of(mix, (float) config.residualFactor());
    float[] hidden = values.hiddenValues();
    float[] factors = batches.inputs();
    for (int i = 0; i < batches.experts().length; i++) {
      int expert = (int) batches.experts()[i];
      float[] input = values.inputValues();
      if (factors != null && factors[i] != 1) {
        input = input.clone();
        for (int j = 0; j < input.length; j++) {
          input[j] *= factors[i];
        }
      }
      float[] gate = multiply(input, mix.weights().gate().get(expert));
      float[] up = multiply(input, mix.weights().up().get(expert));
      for (int j = 0; j < gate.length; j++) {
        gate[j] = gate[j] / (1 + ArrayMath.exp(-gate[j])) * up[j];
      }
      add(hidden, multiply(gate, mix.weights().down().get(expert)), batches.weights()[i]);
    }
    return new Residual(hidden);
  }

  @Override
  public DeviceTensor settle(NDManager manager, Residual residual) {
    return DeviceTensor.owning(
        manager.create(residual.values(), new Shape(1, config.hiddenSize())));
  }

  @Override
  public void reserve(
      KeyValueCache.Layer cache,
      DeviceTensor like,
      AttentionConfig attention,
      int sequences,
      int tokens) {
    fused.reserve(cache, like, attention, sequences, tokens);
  }

  @Override
  public NDArray head(
      NDManager manager,
      Residual residual,
      DeviceTensor norm,
      DeviceTensor weight,
      @Nullable TensorList bias,
      int tokens,
      int count) {
    float[] logits = multiply(normalize(residual.values(), norm), weight);
    if (bias != null) {
      add(logits, bias.get(0).vector(), 1);
    }
    if (config.logitsDivisor() != 1) {
      for (int i = 0; i < logits.length; i++) {
        logits[i] /= (float) config.logitsDivisor();
      }
    }
    return manager.create(logits, new Shape(1, 1, logits.length));
  }

  @Override
  public DeviceTensor attend(
      NDManager manager,
      DeviceTensor hidden,
      AttentionWeights weights,
      AttentionContext context,
      KeyValueCache.@Nullable Layer cache) {
    return fused.attend(manager, hidden, weights, context, cache);
  }

  @Override
  public RoutedResidual route(
      NDManager manager, DeviceTensor hidden, DeviceTensor norm, DeviceTensor gate) {
    return fused.route(manager, hidden, norm, gate);
  }

  @Override
  public DeviceTensor mix(
      NDManager manager, RoutedResidual routed, ExpertMix mix, @Nullable NDArray routingWeights) {
    return fused.mix(manager, routed, mix, routingWeights);
  }

  @Override
  public NDArray routerLogits(NDManager manager, NDArray input, DeviceTensor gate) {
    return fused.routerLogits(manager, input, gate);
  }

  @Override
  public NDArray expertOutput(NDManager manager, NDArray input, ExpertWeights weights, int expert) {
    return fused.expertOutput(manager, input, weights, expert);
  }

  @Override
  public NDArray expertIntermediate(
      NDManager manager, NDArray input, ExpertWeights weights, int expert) {
    return fused.expertIntermediate(manager, input, weights, expert);
  }

  @Override
  public NDArray finalHidden(NDManager manager, DeviceTensor hidden, DeviceTensor norm) {
    return fused.finalHidden(manager, hidden, norm);
  }

  @Override
  public DeviceTensor copyCache(
      NDManager manager, DeviceTensor cached, NDArray rows, int length, int tokens) {
    return fused.copyCache(manager, cached, rows, length, tokens);
  }

  @Override
  public DeviceTensor newBuffer(NDManager manager, DeviceTensor like) {
    return fused.newBuffer(manager, like);
  }

  @Override
  public void merge(
      NDManager manager, List<DeviceTensor> experts, float[][] factors, List<DeviceTensor> merged) {
    fused.merge(manager, experts, factors, merged);
  }

  private float[] normalize(float[] x, DeviceTensor norm) {
    float[] weight = norm.vector();
    double squares = 0;
    for (float value : x) {
      squares += (double) value * value;
    }
    float factor = (float) (1 / Math.sqrt(squares / x.length + config.epsilon()));
    float[] normalized = new float[x.length];
    for (int i = 0; i < x.length; i++) {
      normalized[i] = x[i] * factor * weight[i];
    }
    return normalized;
  }

  private float[] multiply(float[] x, DeviceTensor matrix) {
    float[][] columns = matrix.columns(fused.module());
    float[] y = new float[(int) matrix.shape().get(0)];
    ArrayMath.addRows(y, y.length, x, 0, columns, 0, x.length);
    return y;
  }

  private static void add(float[] sum, float[] values, double factor) {
    float narrow = (float) factor;
    for (int i = 0; i < sum.length; i++) {
      sum[i] += narrow * values[i];
    }
  }
}
