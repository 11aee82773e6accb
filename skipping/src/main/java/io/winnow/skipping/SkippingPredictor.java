package io.winnow.skipping;

import ai.djl.Model;
import ai.djl.inference.Predictor;
import ai.djl.inference.streaming.StreamingTranslator.StreamOutput;
import ai.djl.metric.Metrics;
import ai.djl.ndarray.NDList;
import ai.djl.translate.NoopTranslator;
import ai.djl.translate.TranslateException;
import ai.djl.translate.Translator;
import io.winnow.core.MoeModel;
import io.winnow.core.RouterHook;
import java.util.List;
import java.util.concurrent.Callable;

/**
 * An ordinary DJL predictor whose forward passes skip experts.
 *
 * <p>The policy holds for what {@link #predict} and {@link #batchPredict} do in the calling thread,
 * translators included, and for nothing else: other predictors over the same model, in other
 * threads or in this one, are not touched. Like any DJL predictor, one serves one thread at a time.
 * Closing it closes the predictor it wraps, and not the model.
 *
 * @param <I> the input
 * @param <O> the output
 */
public final class SkippingPredictor<I, O> extends Predictor<I, O> {
  private final Predictor<I, O> predictor;
  private final MoeModel moe;
  private final RouterHook hook;

  private SkippingPredictor(
      Predictor<I, O> predictor, Model model, Translator<I, O> unused, RouterHook hook) {
    super(model, unused, model.getNDManager().getDevice(), false);
    this.predictor = predictor;
    this.moe = MoeModel.of(model);
    this.hook = hook;
  }

  /**
   * Makes a predictor of a model.
   *
   * @throws io.winnow.core.InvalidInputException if the model is no {@link MoeModel}, or the policy
   *     does not fit it
   */
  public static <I, O> SkippingPredictor<I, O> wrap(
      Model model, Translator<I, O> translator, SkipPolicy policy) {
    policy.checkFits(MoeModel.of(model));
    return wrap(model.newPredictor(translator), model, policy);
  }

  /**
   * Wraps a predictor that the host has already.
   *
   * @param predictor a predictor over {@code model}; closed with the result
   * @throws io.winnow.core.InvalidInputException if the model is no {@link MoeModel}, or the policy
   *     does not fit it
   */
  public static <I, O> SkippingPredictor<I, O> wrap(
      Predictor<I, O> predictor, Model model, SkipPolicy policy) {
    return wrap(predictor, model, policy, policy.asHook());
  }

  /**
   * Wraps a predictor like {@link #wrap(Predictor, Model, SkipPolicy)}, and reports what is
   * skipped.
   */
  public static <I, O> SkippingPredictor<I, O> wrap(
      Predictor<I, O> predictor, Model model, SkipPolicy policy, SkipListener listener) {
    return wrap(predictor, model, policy, policy.asHook(listener));
  }

  @SuppressWarnings("unchecked") // The translator is not used: every call goes to the predictor.
  private static <I, O> SkippingPredictor<I, O> wrap(
      Predictor<I, O> predictor, Model model, SkipPolicy policy, RouterHook hook) {
    policy.checkFits(MoeModel.of(model));
    Translator<I, O> unused = (Translator<I, O>) (Translator<NDList, NDList>) new NoopTranslator();
    return new SkippingPredictor<>(predictor, model, unused, hook);
  }

  @Override
  public O predict(I input) throws TranslateException {
    return skipping(() -> predictor.predict(input));
  }

  @Override
  public List<O> batchPredict(List<I> inputs) throws TranslateException {
    return skipping(() -> predictor.batchPredict(inputs));
  }

  /**
   * Streams a prediction. The policy holds while this method runs, hence not for what the stream
   * computes later.
   */
  @Override
  public StreamOutput<O> streamingPredict(I input) throws TranslateException {
    return skipping(() -> predictor.streamingPredict(input));
  }

  private <T> T skipping(Callable<T> action) throws TranslateException {
    try {
      return moe.routerHooks().call(hook, action);
    } catch (TranslateException | RuntimeException e) {
      throw e;
    } catch (Exception e) {
      throw new TranslateException(e);
    }
  }

  @Override
  public boolean supportsStreaming() {
    return predictor.supportsStreaming();
  }

  @Override
  public void setMetrics(Metrics newMetrics) {
    predictor.setMetrics(newMetrics);
  }

  @Override
  public void close() {
    predictor.close();
    super.close();
  }
}
