package io.winnow.core.internal.decoder;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import ai.djl.nn.AbstractBlock;
import ai.djl.nn.Block;
import ai.djl.nn.Parameter;
import ai.djl.training.ParameterStore;
import ai.djl.util.PairList;
import io.winnow.core.internal.kernel.array.DeviceTensor;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * A part of the decoder that takes hidden states {@code [sequences * tokens, hiddenSize]} and adds
 * to them. As a DJL block it takes and returns {@code [sequences, tokens, hiddenSize]} in float32,
 * without a cache.
 */
abstract class DecoderBlock extends AbstractBlock {
  private final DecoderRuntime runtime;

  DecoderBlock(DecoderRuntime runtime) {
    this.runtime = runtime;
    inputShapes = new Shape[] {new Shape(1, 1, runtime.config().hiddenSize())};
    inputNames = List.of("hidden");
  }

  DecoderRuntime runtime() {
    return runtime;
  }

  /** Computes on the residual; null if the pass's observer ended it. */
  abstract @Nullable DeviceTensor apply(ForwardPass pass, DeviceTensor hidden);

  final void register(Weight weight) {
    Parameter parameter = weight.parameter();
    if (parameter != null) {
      addParameter(parameter);
    }
  }

  @Override
  protected NDList forwardInternal(
      ParameterStore parameterStore,
      NDList inputs,
      boolean training,
      PairList<String, Object> params) {
    NDArray hidden = inputs.singletonOrThrow();
    NDManager result = hidden.getManager();
    NDManager manager = result.newSubManager();
    try {
      Shape shape = hidden.getShape();
      DeviceTensor input = DeviceTensor.owning(hidden.reshape(-1, runtime.config().hiddenSize()));
      ParameterStore parameters = training ? parameterStore : null;
      ForwardPass pass =
          runtime.newPass(
              manager,
              parameters,
              runtime.kernel(parameters),
              (int) shape.get(1),
              new long[(int) shape.get(0)],
              null,
              null);
      DeviceTensor output = apply(pass, input);
      if (output == null) {
        throw new IllegalStateException("The block was ended by an observer it does not have");
      }
      NDArray added = output.array().reshape(shape);
      added.attach(result);
      return new NDList(added);
    } finally {
      // A graph to differentiate keeps what it needs natively.
      manager.close();
    }
  }

  @Override
  public Shape[] getOutputShapes(Shape[] inputShapes) {
    return new Shape[] {inputShapes[0]};
  }

  @Override
  protected void initializeChildBlocks(NDManager manager, DataType dataType, Shape... inputShapes) {
    for (Block child : getChildren().values()) {
      child.initialize(manager, dataType, inputShapes);
    }
  }
}
