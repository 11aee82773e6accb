package io.winnow.core.evaluate;

/**
 * How likely a model finds a continuation.
 *
 * @param logLikelihood the sum over the continuation's tokens of the logarithm of their
 *     probabilities, in nats
 * @param greedy whether every token is the one that greedy decoding chooses
 */
public record LogLikelihood(double logLikelihood, boolean greedy) {}
