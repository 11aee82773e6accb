package io.winnow.core;

import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;

/**
 * The hooks installed in one model: one for the whole model, and one for a call in the calling
 * thread. A model holds one of these and asks {@link #apply} after each layer's routing.
 *
 * <p>Thread-safe. Calls in different threads do not touch each other.
 */
public final class RouterHooks {
  private final ThreadLocal<@Nullable RouterHook> ofCall = new ThreadLocal<>();
  private volatile @Nullable RouterHook ofModel;

  /** Installs a hook for every forward pass of the model from now on; null removes it. */
  public void set(@Nullable RouterHook hook) {
    ofModel = hook;
  }

  /**
   * Runs an action whose forward passes in this thread follow this hook, instead of the model's or
   * an outer call's.
   *
   * @throws Exception what the action throws
   */
  public <T> T call(RouterHook hook, Callable<T> action) throws Exception {
    RouterHook outer = ofCall.get();
    ofCall.set(hook);
    try {
      return action.call();
    } finally {
      if (outer == null) {
        ofCall.remove();
      } else {
        ofCall.set(outer);
      }
    }
  }

  /** Returns whether a hook is in force for this thread. */
  public boolean isActive() {
    return ofModel != null || ofCall.get() != null;
  }

  /**
   * Returns the decision to follow: that of the hook in force, or the given one if there is none.
   */
  public RoutingDecision apply(MoeLayerView layer, float[] logits, RoutingDecision decision) {
    RouterHook hook = ofCall.get();
    if (hook == null) {
      hook = ofModel;
    }
    return hook == null ? decision : hook.onRouting(layer, logits, decision);
  }
}
