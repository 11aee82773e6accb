package io.winnow.core.internal.kernel.fused;

import ai.djl.ndarray.NDManager;
import ai.djl.pytorch.jni.IValue;
import io.winnow.core.RoutingDecision;
import io.winnow.core.internal.kernel.ExpertBatches;
import io.winnow.core.internal.kernel.ExpertMix;
import io.winnow.core.internal.kernel.ExpertWeights;
import io.winnow.core.internal.kernel.RoutedResidual;
import io.winnow.core.internal.kernel.array.DeviceTensor;
import io.winnow.core.internal.kernel.array.TorchScriptModule;
import java.util.ArrayList;
import java.util.List;

/** Experts' outputs added to the residual: of many tokens in pieces, of a single one later. */
final class FusedExperts {
  private final TorchScriptModule module;
  private final LayerScripts scripts;
  private final int hiddenSize;
  private final long outputElements;
  private final IValue noTensors;
  private final IValue noNumbers;

  /**
   * Creates it.
   *
   * @param outputElements of experts' outputs that are kept until a token's are summed
   */
  FusedExperts(
      TorchScriptModule module,
      LayerScripts scripts,
      int hiddenSize,
      long outputElements,
      IValue noTensors,
      IValue noNumbers) {
    this.module = module;
    this.scripts = scripts;
    this.hiddenSize = hiddenSize;
    this.outputElements = outputElements;
    this.noTensors = noTensors;
    this.noNumbers = noNumbers;
  }

  /** Returns the experts of a single token, to be computed with what follows. */
  PendingResidual later(NDManager manager, RoutedState routed, ExpertMix mix) {
    ExpertBatches batches = ExpertBatches.of(mix, routed.junction().factorOfParts());
    IValue inputs = noNumbers;
    float[] inputFactors = batches.inputs();
    if (inputFactors != null) {
      inputs = IValue.listFrom(wide(inputFactors));
      manager.attachInternal(inputs.getUid(), inputs);
    }
    return new PendingResidual(
        routed,
        new PendingResidual.Mixture(
            scripts.junction(routed.junction()),
            batches.experts(),
            wide(batches.weights()),
            inputs,
            mix.weights()));
  }

  private static double[] wide(float[] values) {
    double[] wide = new double[values.length];
    for (int i = 0; i < wide.length; i++) {
      wide[i] = values[i];
    }
    return wide;
  }

  DeviceTensor mix(NDManager manager, RoutedResidual routed, ExpertMix mix) {
    RoutingDecision decision = mix.decision();
    int perToken = (decision == null ? 0 : decision.topK()) + (mix.shared() == null ? 0 : 1);
    long most = Math.max(1, outputElements / ((long) perToken * hiddenSize));
    int tokens = mix.tokens();
    if (tokens <= most) {
      return mix(manager, routed, mix, 0, tokens);
    }
    try (NDManager scratch = manager.newSubManager()) {
      List<DeviceTensor> parts = new ArrayList<>();
      for (int first = 0; first < tokens; first += (int) most) {
        int end = (int) Math.min(tokens, first + most);
        parts.add(mix(scratch, routed, mix, first, end));
      }
      try (IValue list = DeviceTensor.list(parts.toArray(DeviceTensor[]::new))) {
        return module.runForTensor(manager, "join", list);
      }
    }
  }

  /** Returns the new residual of the tokens from {@code first} to {@code end}, exclusive. */
  private DeviceTensor mix(
      NDManager manager, RoutedResidual routed, ExpertMix mix, int first, int end) {
    ExpertBatches batches = ExpertBatches.of(mix, routed.junction().factorOfParts(), first, end);
    ExpertBatches.ByToken sums = batches.byToken(first, end);
    ExpertWeights weights = mix.weights();
    float[] inputFactors = batches.inputs();
    try (NDManager scratch = manager.newSubManager()) {
      IValue inputs = noTensors;
      if (inputFactors != null) {
        inputs = DeviceTensor.list(DeviceTensor.owning(scratch.create(inputFactors)));
        scratch.attachInternal(inputs.getUid(), inputs);
      }
      return module.runForTensor(
          manager,
          "mix",
          routed.hidden(),
          routed.input(),
          scripts.junction(routed.junction()),
          (long) first,
          batches.experts(),
          batches.starts(),
          DeviceTensor.owning(scratch.create(batches.tokens())),
          DeviceTensor.owning(scratch.create(sums.pairs())),
          DeviceTensor.owning(scratch.create(sums.starts())),
          DeviceTensor.owning(scratch.create(sums.weights())),
          inputs,
          weights.gate().transposed(),
          weights.up().transposed(),
          weights.down().transposed());
    }
  }
}
