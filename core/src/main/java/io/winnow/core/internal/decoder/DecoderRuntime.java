package io.winnow.core.internal.decoder;

import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.training.ParameterStore;
import io.winnow.core.ForwardObserver;
import io.winnow.core.InvalidInputException;
import io.winnow.core.RouterHooks;
import io.winnow.core.internal.form.DecoderConfig;
import io.winnow.core.internal.form.RotaryConfig;
import io.winnow.core.internal.form.SequenceMixer;
import io.winnow.core.internal.kernel.Kernel;
import io.winnow.core.internal.kernel.KeyValueCache;
import io.winnow.core.internal.kernel.PassContext;
import io.winnow.core.internal.kernel.RotaryTable;
import io.winnow.core.internal.kernel.TokenPlaces;
import io.winnow.core.internal.kernel.fused.FusedKernel;
import io.winnow.core.internal.kernel.reference.ReferenceKernel;
import io.winnow.core.internal.kernel.single.SingleTokenKernel;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** What all blocks of one decoder share: dimensions, kernels, rotary frequencies. */
public final class DecoderRuntime {
  private final DecoderConfig config;
  private final List<SequenceMixer> mixers;
  private final DataType type;
  private final @Nullable String whyNotTrainable;
  private final boolean singleExperts;
  private final NDManager manager;
  private final FusedKernel fused;
  private final Kernel training;
  private final Kernel inference;
  private final @Nullable Kernel singleToken;
  private final Map<RotaryConfig, RotaryTable> rotary = new HashMap<>();
  private final RouterHooks hooks = new RouterHooks();
  private volatile boolean trained;

  /**
   * Creates it.
   *
   * @param useFused whether inference runs in the fused kernel
   * @param small whether the steps of a single token run in Java then, where the form allows it
   * @param whyNotTrainable what training is refused with; null if weights can be trained
   * @param singleExperts whether each expert has tensors of its own in the checkpoint
   */
  public DecoderRuntime(
      DecoderConfig config,
      DataType type,
      NDManager manager,
      FusedKernel fused,
      boolean useFused,
      boolean small,
      @Nullable String whyNotTrainable,
      boolean singleExperts) {
    this.config = config;
    this.whyNotTrainable = whyNotTrainable;
    this.singleExperts = singleExperts;
    this.type = type;
    this.manager = manager;
    this.fused = fused;
    training = new ReferenceKernel(config.kernel());
    inference = useFused ? fused : training;
    mixers = config.mixers();
    for (SequenceMixer mixer : mixers) {
      RotaryConfig rotation = mixer.positions().rotary();
      if (rotation != null && !rotary.containsKey(rotation)) {
        rotary.put(rotation, new RotaryTable(manager, rotation));
      }
    }
    singleToken =
        small && useFused && SingleTokenKernel.supports(manager.getDevice(), type, config.kernel())
            ? new SingleTokenKernel(fused, config.kernel())
            : null;
  }

  DecoderConfig config() {
    return config;
  }

  public DataType type() {
    return type;
  }

  /** Returns whether each expert has tensors of its own in the checkpoint. */
  boolean isSingleExperts() {
    return singleExperts;
  }

  /** Returns whether weights are DJL parameters. */
  public boolean isTrainable() {
    return type == DataType.FLOAT32 && whyNotTrainable == null;
  }

  /**
   * Checks whether weights of the family are trained.
   *
   * @throws InvalidInputException if not, saying why
   */
  public void checkTrainable() {
    if (whyNotTrainable != null) {
      throw new InvalidInputException(whyNotTrainable);
    }
  }

  RouterHooks hooks() {
    return hooks;
  }

  /** Returns the model's manager, which owns the weights. */
  public NDManager manager() {
    return manager;
  }

  public FusedKernel fusedKernel() {
    return fused;
  }

  public Kernel inferenceKernel() {
    return inference;
  }

  /**
   * Returns what computes a pass.
   *
   * @param parameters the weights to train with, or null for inference
   * @throws InvalidInputException if weights of the family are not trained
   */
  Kernel kernel(@Nullable ParameterStore parameters) {
    if (parameters == null) {
      return inference;
    }
    checkTrainable();
    trained = true;
    return training;
  }

  /** Notes that weights change from now on. */
  void weightsChange() {
    trained = true;
  }

  /** Returns whether weights may differ from the checkpoint's. */
  boolean isTrained() {
    return trained;
  }

  /**
   * Returns what computes the steps of a single token where all layers are plain, or null if {@link
   * #inferenceKernel} does.
   */
  @Nullable Kernel singleTokenKernel() {
    return singleToken;
  }

  /**
   * Begins a forward pass of new tokens.
   *
   * @param parameters the weights to train with, or null for inference
   * @param kernel what computes
   */
  public ForwardPass newPass(
      NDManager scratch,
      @Nullable ParameterStore parameters,
      Kernel kernel,
      int tokens,
      long[] padding,
      @Nullable KeyValueCache cache,
      @Nullable ForwardObserver observer) {
    TokenPlaces places =
        cache == null
            ? new TokenPlaces(tokens, 0, padding, 0)
            : new TokenPlaces(tokens, cache.length(), padding, cache.paddingStart());
    PassContext context = kernel.prepare(scratch, mixers, rotary, places);
    return new ForwardPass(
        scratch,
        kernel,
        parameters,
        context,
        cache,
        cache == null ? null : cache.idle(tokens),
        observer,
        null);
  }

  /** Begins a forward pass that can be differentiated by the matrices of merges. */
  public ForwardPass newPass(
      NDManager scratch, Map<Integer, TrainedMerge> merges, int sequences, int tokens) {
    TokenPlaces places = new TokenPlaces(tokens, 0, new long[sequences], 0);
    PassContext context = training.prepare(scratch, mixers, rotary, places);
    return new ForwardPass(scratch, training, null, context, null, null, null, merges);
  }
}
