package io.winnow.core.internal.kernel;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDArrays;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import ai.djl.pytorch.jni.IValue;
import io.winnow.core.internal.form.AttentionConfig;
import io.winnow.core.internal.form.AttentionPart;
import io.winnow.core.internal.form.KernelConfig;
import io.winnow.core.internal.kernel.array.DeviceTensor;
import io.winnow.core.internal.kernel.array.TensorList;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * The weights of one layer's attention, and how they are used. The tensors stay with whom they
 * belong to. Thread-safe. Not part of the API.
 */
public final class AttentionWeights {
  /** Of the norms of latent vectors, whatever the model's epsilon is. */
  static final double LATENT_EPSILON = 1e-6;

  private final AttentionConfig config;
  private final Map<AttentionPart, DeviceTensor> parts;
  private final @Nullable DeviceTensor projections;
  private @Nullable Fused fused;

  /**
   * Creates it.
   *
   * @param projections the matrix of which query, key and value are rows, if there is one
   */
  public AttentionWeights(
      AttentionConfig config,
      Map<AttentionPart, DeviceTensor> parts,
      @Nullable DeviceTensor projections) {
    this.config = config;
    this.parts = new EnumMap<>(parts);
    this.projections = projections;
  }

  /**
   * What the fused kernel takes.
   *
   * @param matrices norm and matrices; of grouped queries query, key, value (or one of all three)
   *     and output; of latent attention query, latent, latent up, output, and query up if there is
   *     one
   * @param form empty for plain attention, else as the kernel's source says
   * @param extras vectors in float32 that {@code form} points at; null if there are none
   * @param numbers scale, residual factor, epsilon, clip, negative clip
   */
  record Fused(TensorList matrices, IValue form, @Nullable TensorList extras, IValue numbers) {}

  /** Returns how the weights are used. */
  public AttentionConfig config() {
    return config;
  }

  /** Returns whether nothing but sizes and visibility sets it apart from Mixtral's attention. */
  public boolean isPlain() {
    return config.isPlain()
        && !parts.containsKey(AttentionPart.QUERY_BIAS)
        && !parts.containsKey(AttentionPart.OUTPUT_BIAS)
        && !parts.containsKey(AttentionPart.SINKS);
  }

  DeviceTensor get(AttentionPart part) {
    DeviceTensor tensor = parts.get(part);
    if (tensor == null) {
      throw new IllegalStateException("The attention has no " + part);
    }
    return tensor;
  }

  @Nullable DeviceTensor find(AttentionPart part) {
    return parts.get(part);
  }

  /** Returns a matrix of the model's type. */
  public DeviceTensor like() {
    return get(AttentionPart.OUTPUT);
  }

  /** Returns what the fused kernel takes, made on first use; it goes with the weights' manager. */
  synchronized Fused fused(KernelConfig kernel) {
    Fused current = fused;
    if (current == null) {
      current = config.latent() == null ? grouped(kernel) : latent(kernel);
      fused = current;
    }
    return current;
  }

  private Fused grouped(KernelConfig kernel) {
    TensorList matrices =
        projections == null
            ? TensorList.of(
                get(AttentionPart.NORM),
                get(AttentionPart.QUERY),
                get(AttentionPart.KEY),
                get(AttentionPart.VALUE),
                get(AttentionPart.OUTPUT))
            : TensorList.of(get(AttentionPart.NORM), projections, get(AttentionPart.OUTPUT));
    if (isPlain() && kernel.residualFactor() == 1) {
      return fused(matrices, new long[0], List.of(), kernel);
    }
    List<DeviceTensor> extras = new ArrayList<>();
    int norm = -1;
    int bias = -1;
    int outputBias = -1;
    int sinks = -1;
    if (config.norm() != AttentionConfig.QueryKeyNorm.NONE) {
      norm = extras.size();
      extras.addAll(norms());
    }
    if (parts.containsKey(AttentionPart.QUERY_BIAS)) {
      bias = extras.size();
      extras.add(
          own(
              NDArrays.concat(
                  new NDList(
                      get(AttentionPart.QUERY_BIAS).array(),
                      get(AttentionPart.KEY_BIAS).array(),
                      get(AttentionPart.VALUE_BIAS).array()))));
    }
    if (parts.containsKey(AttentionPart.OUTPUT_BIAS)) {
      outputBias = extras.size();
      extras.add(get(AttentionPart.OUTPUT_BIAS));
    }
    if (parts.containsKey(AttentionPart.SINKS)) {
      sinks = extras.size();
      extras.add(get(AttentionPart.SINKS));
    }
    long[] form = {
      0,
      config.rotarySize(),
      config.interleaved() ? 1 : 0,
      config.norm().ordinal(),
      norm,
      bias,
      outputBias,
      sinks,
      config.clip() > 0 ? 1 : 0,
      config.temperature() ? 1 : 0
    };
    return fused(matrices, form, extras, kernel);
  }

  private List<DeviceTensor> norms() {
    NDManager manager = manager();
    int all = config.heads() + config.keyValueHeads();
    return switch (config.norm()) {
      case NONE -> List.of();
      case PROJECTION -> List.of(get(AttentionPart.QUERY_NORM), get(AttentionPart.KEY_NORM));
      case ROTATED -> List.of(own(manager.ones(new Shape(1))));
      case HEAD -> {
        // One weight for queries and keys, which lie behind each other.
        NDArray query = get(AttentionPart.QUERY_NORM).array();
        NDArray key = get(AttentionPart.KEY_NORM).array();
        try (NDManager scratch = manager.newSubManager()) {
          NDArray queries = query.reshape(1, -1).repeat(0, config.heads());
          queries.attach(scratch);
          NDArray keys = key.reshape(1, -1).repeat(0, config.keyValueHeads());
          keys.attach(scratch);
          NDArray both = queries.concat(keys, 0).reshape(all, 1, config.headSize());
          both.attach(manager);
          yield List.of(own(both));
        }
      }
    };
  }

  private Fused latent(KernelConfig kernel) {
    AttentionConfig.Latent sizes = config.latent();
    if (sizes == null) {
      throw new IllegalStateException("The attention is not latent");
    }
    List<DeviceTensor> matrices = new ArrayList<>();
    boolean queryDown = parts.containsKey(AttentionPart.QUERY_DOWN);
    matrices.add(get(AttentionPart.NORM));
    matrices.add(get(queryDown ? AttentionPart.QUERY_DOWN : AttentionPart.QUERY));
    matrices.add(get(AttentionPart.LATENT));
    matrices.add(get(AttentionPart.LATENT_UP));
    matrices.add(get(AttentionPart.OUTPUT));
    if (queryDown) {
      matrices.add(get(AttentionPart.QUERY_UP));
    }
    List<DeviceTensor> extras = new ArrayList<>();
    long[] form = {
      1,
      sizes.plainSize(),
      config.rotarySize(),
      sizes.valueSize(),
      sizes.rank(),
      config.interleaved() ? 1 : 0,
      place(extras, AttentionPart.LATENT_NORM),
      place(extras, AttentionPart.LATENT_BIAS),
      place(extras, AttentionPart.QUERY_DOWN_NORM),
      place(extras, AttentionPart.QUERY_DOWN_BIAS),
      place(extras, AttentionPart.OUTPUT_BIAS)
    };
    return fused(new TensorList(matrices), form, extras, kernel);
  }

  private int place(List<DeviceTensor> extras, AttentionPart part) {
    DeviceTensor tensor = parts.get(part);
    if (tensor == null) {
      return -1;
    }
    extras.add(tensor);
    return extras.size() - 1;
  }

  private Fused fused(
      TensorList matrices, long[] form, List<DeviceTensor> extras, KernelConfig kernel) {
    IValue formValue = IValue.listFrom(form);
    IValue numbers =
        IValue.listFrom(
            config.scale(),
            kernel.residualFactor(),
            config.latent() == null ? kernel.epsilon() : LATENT_EPSILON,
            config.clip(),
            -config.clip());
    manager().attachInternal(formValue.getUid(), formValue);
    manager().attachInternal(numbers.getUid(), numbers);
    return new Fused(
        matrices, formValue, extras.isEmpty() ? null : new TensorList(extras), numbers);
  }

  private NDManager manager() {
    return get(AttentionPart.NORM).rawArray().getManager();
  }

  private DeviceTensor own(NDArray array) {
    return DeviceTensor.owning(array).attach(manager()).outliveScopes();
  }
}
