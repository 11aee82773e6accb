package io.winnow.core.internal.kernel.single;

import ai.djl.Device;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import io.winnow.core.internal.form.GroupedAttention;
import io.winnow.core.internal.form.KernelConfig;
import io.winnow.core.internal.form.MixerPart;
import io.winnow.core.internal.form.RotaryConfig;
import io.winnow.core.internal.form.SequenceMixer;
import io.winnow.core.internal.form.StateForm;
import io.winnow.core.internal.kernel.ExpertBatches;
import io.winnow.core.internal.kernel.ExpertMix;
import io.winnow.core.internal.kernel.ExpertWeights;
import io.winnow.core.internal.kernel.Junction;
import io.winnow.core.internal.kernel.Kernel;
import io.winnow.core.internal.kernel.LayerState;
import io.winnow.core.internal.kernel.LayerWeights;
import io.winnow.core.internal.kernel.MixerWeights;
import io.winnow.core.internal.kernel.PassContext;
import io.winnow.core.internal.kernel.Residual;
import io.winnow.core.internal.kernel.RotaryTable;
import io.winnow.core.internal.kernel.RoutedResidual;
import io.winnow.core.internal.kernel.TokenPlaces;
import io.winnow.core.internal.kernel.array.ArrayMath;
import io.winnow.core.internal.kernel.array.DeviceTensor;
import io.winnow.core.internal.kernel.array.TensorList;
import io.winnow.core.internal.kernel.fused.FusedKernel;
import java.util.Arrays;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * The decoder's operations for one token of a small model on the CPU, in plain Java on arrays:
 * PyTorch takes longer to dispatch such an operation than to compute it.
 *
 * <p>Weights are copied on first use, and computed with in float32 whatever their type is. The
 * cache of keys and values is that of the fused kernel, which computes all that is not a step of a
 * single token. For inference only. Thread-safe.
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
   * MixerWeights#isPlain}, {@link Junction#isPlain} and {@link ExpertWeights#isPlain} say it.
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
    return new ArrayResidual(row);
  }

  @Override
  public PassContext prepare(
      NDManager manager,
      Collection<SequenceMixer> mixers,
      Map<RotaryConfig, RotaryTable> tables,
      TokenPlaces places) {
    Map<RotaryConfig, float[]> rows = new HashMap<>();
    tables.forEach(
        (rotary, table) ->
            rows.put(rotary, table.of(places.past() + 1).row(fused.module(), places.past())));
    return new TokenContext(places.past(), rows);
  }

  @Override
  public RoutedResidual attendAndRoute(
      NDManager manager,
      Residual residual,
      LayerWeights weights,
      PassContext context,
      @Nullable LayerState state) {
    if (state == null) {
      throw new IllegalStateException("A single token needs the cache of those before it");
    }
    MixerWeights mixer = weights.mixer();
    GroupedAttention form = (GroupedAttention) mixer.form();
    TokenContext token = (TokenContext) context;
    float[] hidden = ArrayResidual.values(residual);
    float[] x = normalize(hidden, mixer.junction());
    float[] queries = multiply(x, mixer.get(MixerPart.QUERY));
    float[] keys = multiply(x, mixer.get(MixerPart.KEY));
    float[] values = multiply(x, mixer.get(MixerPart.VALUE));
    rotate(queries, form.keySize(), token.rotaryRow(form));
    rotate(keys, form.keySize(), token.rotaryRow(form));
    ArrayCache seen = state.companion(ArrayCache.class, () -> arrays(form, state));
    seen.append(token.past(), keys, values);
    float[] attended = attend(queries, form, seen, token.past());
    add(hidden, multiply(attended, mixer.get(MixerPart.OUTPUT)), mixer.junction().factor());
    float[] input = normalize(hidden, weights.junction());
    return new RoutedValues(weights.junction(), hidden, input, multiply(input, weights.gate()));
  }

  private static ArrayCache arrays(GroupedAttention form, LayerState state) {
    List<DeviceTensor> tensors = state.tensors();
    if (tensors.isEmpty()) {
      throw new IllegalStateException("The cache has no room yet");
    }
    return new ArrayCache(
        form, tensors.get(0).elements(), tensors.get(1).elements(), state.capacity());
  }

  private float[] attend(float[] queries, GroupedAttention form, ArrayCache seen, int position) {
    int size = form.keySize();
    int groups = form.heads() / form.keyValueHeads();
    int first = form.positions().visibility().first(position);
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
    ExpertBatches batches = ExpertBatches.of(mix, routed.junction().factorOfParts());
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
    return new ArrayResidual(hidden);
  }

  @Override
  public DeviceTensor settle(NDManager manager, Residual residual) {
    return DeviceTensor.owning(
        manager.create(ArrayResidual.values(residual), new Shape(1, config.hiddenSize())));
  }

  @Override
  public void reserve(
      LayerState state, DeviceTensor like, StateForm form, int sequences, int tokens) {
    fused.reserve(state, like, form, sequences, tokens);
  }

  @Override
  public NDArray head(
      NDManager manager,
      Residual residual,
      Junction junction,
      DeviceTensor weight,
      @Nullable TensorList bias,
      int tokens,
      int count) {
    float[] logits = multiply(normalize(ArrayResidual.values(residual), junction), weight);
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
      MixerWeights weights,
      PassContext context,
      @Nullable LayerState state) {
    return fused.attend(manager, hidden, weights, context, state);
  }

  @Override
  public RoutedResidual route(
      NDManager manager, DeviceTensor hidden, Junction junction, DeviceTensor gate) {
    return fused.route(manager, hidden, junction, gate);
  }

  @Override
  public DeviceTensor mix(
      NDManager manager, RoutedResidual routed, ExpertMix mix, @Nullable NDArray routingWeights) {
    return fused.mix(manager, routed, mix, routingWeights);
  }

  @Override
  public DeviceTensor add(NDManager manager, RoutedResidual routed, NDArray output) {
    return fused.add(manager, routed, output);
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
  public NDArray finalHidden(NDManager manager, DeviceTensor hidden, Junction junction) {
    return fused.finalHidden(manager, hidden, junction);
  }

  @Override
  public DeviceTensor copyState(
      NDManager manager, DeviceTensor kept, NDArray rows, int length, int tokens) {
    return fused.copyState(manager, kept, rows, length, tokens);
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

  private float[] normalize(float[] x, Junction junction) {
    float[] weight = Objects.requireNonNull(junction.before()).vector();
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
