package io.winnow.examples.report;

import ai.djl.ndarray.NDArray;
import io.winnow.core.MoeLayerView;
import io.winnow.core.Routing;

/** A layer that is only counted. */
record LayerStub(int layerIndex, int numExperts) implements MoeLayerView {
  @Override
  public Routing routing() {
    throw new UnsupportedOperationException();
  }

  @Override
  public NDArray routerLogits(NDArray hidden) {
    throw new UnsupportedOperationException();
  }

  @Override
  public NDArray expertOutput(int expert, NDArray hidden) {
    throw new UnsupportedOperationException();
  }

  @Override
  public void retain(int... retained) {
    throw new UnsupportedOperationException();
  }
}
