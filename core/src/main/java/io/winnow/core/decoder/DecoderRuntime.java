package io.winnow.core.decoder;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.training.ParameterStore;
import io.winnow.core.ForwardObserver;
import io.winnow.core.RouterHooks;
import io.winnow.core.kernel.AttentionConfig;
import io.winnow.core.kernel.AttentionContext;
import io.winnow.core.kernel.FusedKernel;
import io.winnow.core.kernel.Kernel;
import io.winnow.core.kernel.KeyValueCache;
import io.winnow.core.kernel.ReferenceKernel;
import org.jspecify.annotations.Nullable;

/** What all blocks of one decoder share: dimensions, kernels, rotary frequencies. */
final class DecoderRuntime {
  private final DecoderConfig config;
  private final AttentionConfig attention;
  private final DataType type;
  private final NDManager manager;
  private final FusedKernel fused;
  private final Kernel training = new ReferenceKernel();
  private final Kernel inference;
  private final NDArray inverseFrequencies;
  private final RouterHooks hooks = new RouterHooks();

  DecoderRuntime(
      DecoderConfig config, DataType type, NDManager manager, FusedKernel fused, boolean useFused) {
    this.config = config;
    this.type = type;
    this.manager = manager;
    this.fused = fused;
    inference = useFused ? fused : training;
    attention =
        new AttentionConfig(
            config.heads(),
            config.keyValueHeads(),
            config.headSize(),
            1 / Math.sqrt(config.headSize()),
            config.slidingWindow());
    float[] frequencies = new float[config.headSize() / 2];
    for (int i = 0; i < frequencies.length; i++) {
      frequencies[i] = (float) Math.pow(config.ropeTheta(), -2.0 * i / config.headSize());
    }
    inverseFrequencies = manager.create(frequencies);
  }

  DecoderConfig config() {
    return config;
  }

  AttentionConfig attention() {
    return attention;
  }

  DataType type() {
    return type;
  }

  RouterHooks hooks() {
    return hooks;
  }

  /** Returns the model's manager, which owns the weights. */
  NDManager manager() {
    return manager;
  }

  FusedKernel fusedKernel() {
    return fused;
  }

  Kernel inferenceKernel() {
    return inference;
  }

  /**
   * Begins a forward pass of new tokens.
   *
   * @param parameters the weights to train with, or null for inference
   */
  ForwardPass newPass(
      NDManager scratch,
      @Nullable ParameterStore parameters,
      int tokens,
      long[] padding,
      @Nullable KeyValueCache cache,
      @Nullable ForwardObserver observer) {
    Kernel kernel = parameters == null ? inference : training;
    AttentionContext context =
        kernel.prepare(
            scratch,
            attention,
            inverseFrequencies,
            tokens,
            cache == null ? 0 : cache.length(),
            padding,
            cache == null ? 0 : cache.paddingStart());
    return new ForwardPass(scratch, kernel, parameters, context, cache, observer);
  }
}
